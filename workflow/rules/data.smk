# Crystals and what a detector would have seen of them.


rule crystal:
    output:
        "results/samples/{sample}.xyz",
    log:
        "results/logs/samples/{sample}.log",
    benchmark:
        "results/benchmarks/samples/{sample}.tsv"
    conda:
        environment
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        options=crystal_options,
    message:
        "Make the crystal {wildcards.sample}"
    shell:
        "python -m prammol crystal {params.options} -o {output} > {log} 2>&1"


# States of a series: the first is the crystal, each other one made of that before.
rule first_state:
    input:
        first_sample,
    output:
        "results/{study}/state-00/truth.xyz",
    log:
        "results/logs/{study}/state-00/truth.log",
    benchmark:
        "results/benchmarks/{study}/state-00/truth.tsv"
    wildcard_constraints:
        study=any_of(studies_of_kind("series")),
    conda:
        environment
    resources:
        mem_mb=100,
        runtime=5,
    message:
        "First state of {wildcards.study}"
    shell:
        "cp {input} {output} > {log} 2>&1"


rule next_state:
    input:
        true_state_before,
    output:
        "results/{study}/{condition}/truth.xyz",
    log:
        "results/logs/{study}/{condition}/truth.log",
    benchmark:
        "results/benchmarks/{study}/{condition}/truth.tsv"
    wildcard_constraints:
        study=any_of(studies_of_kind("series")),
        condition=r"state-(?!00)\d\d",
    conda:
        environment
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        options=change_options,
    message:
        "Make {wildcards.condition} of {wildcards.study}"
    shell:
        "python -m prammol crystal {params.options} --of {input} --force -o {output} > {log} 2>&1"


rule simulate:
    input:
        sample_file,
    output:
        f"{TRIAL}/diffraction.h5",
    log:
        f"{LOG}/simulate.log",
    benchmark:
        f"{BENCHMARK}/simulate.tsv"
    wildcard_constraints:
        study=any_of(studies_of_kind("flux", "samples", "series")),
    conda:
        environment
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        flux=flux_of,
        seed=seed_of_counts,
        points=lookup(dpath="measurement/points", within=config),
        wavelength=lookup(dpath="measurement/wavelength", within=config),
        form_factor=lookup(dpath="measurement/form_factor", within=config),
    message:
        "Count photons: {wildcards.study} {wildcards.condition}, trial {wildcards.trial}"
    shell:
        "python -m prammol simulate {input} --flux {params.flux} --seed {params.seed}"
        " --points {params.points} --wavelength {params.wavelength}"
        " --form-factor {params.form_factor}"
        " -o {output} > {log} 2>&1"


# One trajectory per temperature; its snapshots are averaged as it runs (Eq. 12), so what
# is kept is one complex number per point, and the truth of its trials: the mean positions, and
# the mean scattering on spheres.
rule dynamics:
    input:
        crystal=sample_file,
    output:
        amplitude="results/{study}/{condition}/amplitude.npz",
        mean="results/{study}/{condition}/mean.xyz",
        scattering="results/{study}/{condition}/scattering.npz",
    log:
        "results/logs/{study}/{condition}/dynamics.log",
    benchmark:
        "results/benchmarks/{study}/{condition}/dynamics.tsv"
    wildcard_constraints:
        study=any_of(studies_of_kind("temperature")),
    conda:
        environment
    threads: 1
    resources:
        tasks=ranks,
        cpus_per_task=1,
        mpi=launcher,
        mem_mb=2000,
        runtime=240,
    params:
        temperature=temperature_of,
        seed=seed_of_trajectory,
        points=lookup(dpath="measurement/points", within=config),
        equilibrate=lookup(dpath="studies/{study}/dynamics/equilibrate", within=config),
        steps=lookup(dpath="studies/{study}/dynamics/steps", within=config),
        every=lookup(dpath="studies/{study}/dynamics/every", within=config),
        timestep=lookup(dpath="studies/{study}/dynamics/timestep", within=config),
        potential=potential_of,
    message:
        "Dynamics at {wildcards.condition} on {resources.tasks} ranks"
    shell:
        'export OMP_NUM_THREADS=1 PRAMMOL_RANKS={resources.tasks}; launch="{resources.mpi}";'
        " ${{launch:+$launch -n {resources.tasks}}} python -m prammol dynamics {input.crystal}"
        " --temperature {params.temperature} --seed {params.seed} --points {params.points}"
        " --equilibrate {params.equilibrate} --steps {params.steps} --every {params.every}"
        " --timestep {params.timestep}"
        " {params.potential} --force -o {output.amplitude} --mean {output.mean}"
        " --scattering {output.scattering} > {log} 2>&1"


rule simulate_warm:
    input:
        crystal=sample_file,
        amplitude="results/{study}/{condition}/amplitude.npz",
    output:
        f"{TRIAL}/diffraction.h5",
    log:
        f"{LOG}/simulate.log",
    benchmark:
        f"{BENCHMARK}/simulate.tsv"
    wildcard_constraints:
        study=any_of(studies_of_kind("temperature")),
    conda:
        environment
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        flux=flux_of,
        seed=seed_of_counts,
        wavelength=lookup(dpath="measurement/wavelength", within=config),
        form_factor=lookup(dpath="measurement/form_factor", within=config),
    message:
        "Count photons: {wildcards.study} {wildcards.condition}, trial {wildcards.trial}"
    shell:
        "python -m prammol simulate {input.crystal} --amplitude {input.amplitude}"
        " --flux {params.flux} --seed {params.seed} --wavelength {params.wavelength}"
        " --form-factor {params.form_factor}"
        " --force -o {output} > {log} 2>&1"
