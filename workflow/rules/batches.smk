# Short trials by the dozen: a job runs this workflow for some trials of a study, on its own cores.
# A group of Snakemake's wouldn't do: one failed trial takes the files of all others with it.


rule batches:
    input:
        [
            f"{BATCHES}/{study}.done"
            for study in studies_of_kind("flux", "temperature", "samples")
        ],


localrules:
    batches_of_study,


rule batches_of_study:
    input:
        batches_of_study,
    output:
        touch(f"{BATCHES}/{{study}}.done"),
    message:
        "All trials of study {wildcards.study}"


rule batch:
    input:
        common_inputs,
    output:
        touch(f"{BATCHES}/{{study}}/{{batch}}.done"),
    log:
        "results/logs/{study}/batch-{batch}.log",
    benchmark:
        "results/benchmarks/{study}/batch-{batch}.tsv"
    wildcard_constraints:
        batch=r"\d{4}",
        study=any_of(studies_of_kind("flux", "temperature", "samples")),  # a series is a chain
    conda:
        environment
    threads: 1
    resources:
        mem_mb=lambda wildcards, threads: 3000 * threads,
        runtime=480,
    params:
        snakefile=workflow.main_snakefile,
        profile=os.path.join(workflow.basedir, "profiles/local"),
        configuration=f"{BATCHES}/configuration.json",
        trials=trials_of_batch,
    message:
        "Batch {wildcards.batch} of study {wildcards.study}"
    # Beside others: --nolock. Only the first Snakemake writes the page of all trials: --no-hooks.
    shell:
        "python -m snakemake --snakefile {params.snakefile} --profile {params.profile}"
        " --cores {threads} --nolock --no-hooks --nocolor --configfile {params.configuration}"
        " -- {params.trials} > {log} 2>&1"
