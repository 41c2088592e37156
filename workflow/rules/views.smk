# Pages with the atoms in three dimensions, complete in one file each.


rule view:
    input:
        result="results/{study}/{condition}/trial-01/reconstruction.h5",
        crystal=truth_file,
    output:
        report(
            "results/views/{study}-{condition}.html",
            caption="../report/view.rst",
            category="Crystals in three dimensions",
            labels={"study": "{study}", "crystal": "{condition}"},
        ),
    log:
        "results/logs/views/{study}-{condition}.log",
    benchmark:
        "results/benchmarks/views/{study}-{condition}.tsv"
    conda:
        environment
    resources:
        mem_mb=2000,
        runtime=15,
    message:
        "View: {wildcards.study} {wildcards.condition}"
    shell:
        "python -m prammol view {input.result} --truth {input.crystal} -o {output} --force"
        " > {log} 2>&1"
