# The studies of the paper, from crystals to figures. `snakemake -n` lists what would be
# done; config/README.md says what can be changed, docs/tutorials/first-sweep.md how to run it.
import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.14.0")


configfile: workflow.source_path("config/config.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/figure_inputs.smk"
include: "workflow/rules/batch_inputs.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/trials.smk"
include: "workflow/rules/batches.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/film.smk"
include: "workflow/rules/views.smk"


onstart:
    claim_results()
    write_configuration()


rule all:
    default_target: True
    input:
        all_tables(),
        all_figures(),
        all_views(),
        "results/trials.html",


rule defects:
    input:
        "results/defects/trials.csv",
        figure_files("fig6"),


rule fig4:
    input:
        figure_files("fig4"),


rule fig7:
    input:
        figure_files("fig7"),


rule series:
    input:
        figure_files("series"),


rule film:
    input:
        figure_files("film"),


rule report:
    input:
        rules.all.input,
        style=workflow.source_path("workflow/report/report.css"),
        opening=workflow.source_path("workflow/report/opening.js"),
    output:
        "results/report.html",
    log:
        "results/logs/report.log",
    benchmark:
        "results/benchmarks/report.tsv"
    conda:
        environment
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        snakefile=workflow.snakefile,
    message:
        "Report"
    script:
        "workflow/scripts/report_page.py"
