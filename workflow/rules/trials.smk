# The page of all trials is also there when some have failed: then its rule can't run. What
# was done since, without the rule, is brought up to date.
onerror:
    write_trials_page()


onsuccess:
    if os.path.exists("results/trials.html"):
        write_trials_page()


# One trial: where atoms may be, the reconstruction, the comparison with the truth. All its
# files are in results/{study}/{condition}/trial-NN.


rule support:
    input:
        diffraction=f"{TRIAL}/diffraction.h5",
        crystal=sample_file,
    output:
        f"{TRIAL}/support.h5",
    log:
        f"{LOG}/support.log",
    benchmark:
        f"{BENCHMARK}/support.tsv"
    conda:
        environment
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        resolution=lookup(dpath="support/resolution", within=config),
    message:
        "Support: {wildcards.study} {wildcards.condition}, trial {wildcards.trial}"
    shell:
        "python -m prammol support {input.diffraction} --from-truth {input.crystal}"
        " --resolution {params.resolution} -o {output} > {log} 2>&1"


# Exit code 3 means that the result was written before it had converged. That is a result:
# metrics.json says so. Every other code is a failure.
# A killed job continues from its checkpoint (--resume), unless that is of other settings or
# data: then it starts again (--force).
# The number of ranks is a resource, not a parameter: it doesn't change the atoms.
rule reconstruct:
    input:
        diffraction=f"{TRIAL}/diffraction.h5",
        support=f"{TRIAL}/support.h5",
        initial=initial_result,
    output:
        result=f"{TRIAL}/reconstruction.h5",
        atoms=f"{TRIAL}/reconstruction.xyz",
        lammps=f"{TRIAL}/reconstruction.lammps",
        progress=f"{TRIAL}/reconstruction.progress.jsonl",
    log:
        f"{LOG}/reconstruct.log",
    benchmark:
        f"{BENCHMARK}/reconstruct.tsv"
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
        initial=lambda wildcards, input: (
            f"--initial {input.initial}" if input.initial else ""
        ),
    message:
        "Reconstruct on {resources.tasks} ranks: {wildcards.study} {wildcards.condition},"
        " trial {wildcards.trial}"
    shell:
        'export OMP_NUM_THREADS=1 PRAMMOL_RANKS={resources.tasks}; launch="{resources.mpi}";'
        " ${{launch:+$launch -n {resources.tasks}}} python -m prammol reconstruct {input.diffraction}"
        " --support {input.support} --preset {params.preset} {params.settings}"
        " {params.potential} {params.initial}"
        " --seed {params.seed} -o {output.result} --resume --force > {log} 2>&1"
        " || [ $? -eq 3 ]"


rule evaluate:
    input:
        result=f"{TRIAL}/reconstruction.h5",
        crystal=truth_file,
        scattering=scattering_file,
    output:
        metrics=f"{TRIAL}/metrics.json",
        atoms=f"{TRIAL}/errors.xyz",
    log:
        f"{LOG}/evaluate.log",
    benchmark:
        f"{BENCHMARK}/evaluate.tsv"
    conda:
        environment
    resources:
        mem_mb=2000,
        runtime=20,
    params:
        scattering=lambda wildcards, input: (
            f"--scattering {input.scattering}" if input.scattering else ""
        ),
    message:
        "Evaluate: {wildcards.study} {wildcards.condition}, trial {wildcards.trial}"
    shell:
        "python -m prammol evaluate {input.result} --truth {input.crystal} --json {output.metrics}"
        " --atoms {output.atoms} {params.scattering} > {log} 2>&1"
