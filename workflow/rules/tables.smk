# What the trials of a condition and of a study say together.


rule resolution:
    input:
        trials=trials_of_condition,
        crystal=truth_file,
    output:
        "results/{study}/{condition}/resolution.json",
    log:
        "results/logs/{study}/{condition}/resolution.log",
    benchmark:
        "results/benchmarks/{study}/{condition}/resolution.tsv"
    conda:
        environment
    resources:
        mem_mb=2000,
        runtime=60,
    message:
        "Resolution of all trials together: {wildcards.study} {wildcards.condition}"
    script:
        "../scripts/condition_resolution.py"


rule table:
    input:
        trials=trials_of_study,
        resolutions=resolutions_of_study,
    output:
        report(
            "results/{study}/trials.csv",
            caption="../report/trials.rst",
            category="Trials",
            labels={"study": "{study}"},
        ),
    log:
        "results/logs/{study}/table.log",
    benchmark:
        "results/benchmarks/{study}/table.tsv"
    conda:
        environment
    resources:
        mem_mb=500,
        runtime=10,
    params:
        trials=number_of_trials,
    message:
        "Table of the trials of study {wildcards.study}"
    script:
        "../scripts/trials_table.py"


rule trials_page:
    input:
        tables=all_tables(),
    output:
        report(
            "results/trials.html",
            caption="../report/trials_page.rst",
            category="Trials",
            labels={"study": "all, sortable"},
        ),
    log:
        "results/logs/trials_page.log",
    benchmark:
        "results/benchmarks/trials_page.tsv"
    conda:
        environment
    resources:
        mem_mb=500,
        runtime=10,
    params:
        trials=all_trials(),
    message:
        "Page of all trials"
    script:
        "../scripts/trials_page.py"
