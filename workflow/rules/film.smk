# The supplementary film: how one reconstruction converges, and its trajectory for OVITO.


# The same reconstruction once more, with a frame for each iteration: trajectories of all
# trials would be gigabytes. Any trial can be asked for.
rule trajectory:
    input:
        diffraction=f"{TRIAL}/diffraction.h5",
        support=f"{TRIAL}/support.h5",
    output:
        trajectory=f"{TRIAL}/trajectory.xyz",
        others=temp(directory(f"{TRIAL}/trajectory.run")),
    log:
        f"{LOG}/trajectory.log",
    benchmark:
        f"{BENCHMARK}/trajectory.tsv"
    conda:
        environment
    threads: 1
    resources:
        tasks=ranks,
        cpus_per_task=1,
        mpi=launcher,
        mem_mb=3000,
        runtime=480,
    params:
        preset=lookup(dpath="studies/{study}/preset", within=config),
        settings=settings_of,
        potential=potential_of,
        seed=seed_of_reconstruction,
    message:
        "Trajectory on {resources.tasks} ranks: {wildcards.study} {wildcards.condition},"
        " trial {wildcards.trial}"
    shell:
        "mkdir -p {output.others};"
        ' export OMP_NUM_THREADS=1 PRAMMOL_RANKS={resources.tasks}; launch="{resources.mpi}";'
        " ${{launch:+$launch -n {resources.tasks}}} python -m prammol reconstruct {input.diffraction}"
        " --support {input.support} --preset {params.preset} {params.settings}"
        " {params.potential}"
        " --seed {params.seed} -o {output.others}/reconstruction.h5"
        " --trajectory {output.trajectory} --force > {log} 2>&1"
        " || [ $? -eq 3 ]"


rule draw_film:
    input:
        trajectory=example_trajectory,
        crystal=example_truth,
    output:
        # Snakemake's report shows no GIF.
        png=report(
            "results/figures/film.png",
            caption="../report/film.rst",
            category="Figures",
            labels={"figure": "film", "shows": "A reconstruction converging"},
        ),
        gif="results/figures/film.gif",
        csv="results/figures/film.csv",
    log:
        "results/logs/figures/film.log",
    benchmark:
        "results/benchmarks/figures/film.tsv"
    conda:
        environment
    resources:
        mem_mb=1500,
        runtime=15,
    message:
        "Film of a reconstruction"
    script:
        "../scripts/film.py"
