# The figures of the paper: PNG for the screen and the report, PDF for print, CSV with the
# numbers drawn.


rule draw_fig2:
    input:
        crystal=crystal_of_flux,
    output:
        png=report(
            "results/figures/fig2.png",
            caption="../report/fig2.rst",
            category="Figures",
            labels={"figure": "2", "shows": "The crystal"},
        ),
        pdf="results/figures/fig2.pdf",
        csv="results/figures/fig2.csv",
    log:
        "results/logs/figures/fig2.log",
    benchmark:
        "results/benchmarks/figures/fig2.tsv"
    conda:
        environment
    resources:
        mem_mb=1500,
        runtime=15,
    message:
        "Figure 2: the crystal"
    script:
        "../scripts/plot_crystal.py"


rule draw_fig3:
    input:
        diffraction=example_diffraction,
        result=example_result,
    output:
        png=report(
            "results/figures/fig3.png",
            caption="../report/fig3.rst",
            category="Figures",
            labels={"figure": "3", "shows": "Counts and model around the Bragg peaks"},
        ),
        pdf="results/figures/fig3.pdf",
        csv="results/figures/fig3.csv",
    log:
        "results/logs/figures/fig3.log",
    benchmark:
        "results/benchmarks/figures/fig3.tsv"
    conda:
        environment
    resources:
        mem_mb=1500,
        runtime=15,
    message:
        "Figure 3: counts and model around the Bragg peaks"
    script:
        "../scripts/plot_counts.py"


rule bound_errors:
    input:
        crystal=crystal_of_flux,
    output:
        "results/flux/bounds.csv",
    log:
        "results/logs/flux/bounds.log",
    benchmark:
        "results/benchmarks/flux/bounds.tsv"
    conda:
        environment
    resources:
        mem_mb=1500,
        runtime=15,
    params:
        fluxes=lookup(dpath="studies/flux/flux", within=config, default=[]),
        points=lookup(dpath="measurement/points", within=config),
        wavelength=lookup(dpath="measurement/wavelength", within=config),
        form_factor=lookup(dpath="measurement/form_factor", within=config),
    message:
        "Cramér-Rao bounds of the flux study"
    script:
        "../scripts/cramer_rao_bounds.py"


rule draw_fig4:
    input:
        table="results/flux/trials.csv",
        bounds="results/flux/bounds.csv",
        others=tables_of_other_fluxes,
    output:
        png=report(
            "results/figures/fig4.png",
            caption="../report/fig4.rst",
            category="Figures",
            labels={"figure": "4", "shows": "Errors and resolution against the flux"},
        ),
        pdf="results/figures/fig4.pdf",
        csv="results/figures/fig4.csv",
    log:
        "results/logs/figures/fig4.log",
    benchmark:
        "results/benchmarks/figures/fig4.tsv"
    conda:
        environment
    resources:
        mem_mb=1500,
        runtime=15,
    params:
        sweep="flux",
    message:
        "Figure 4: errors and resolution against the flux"
    script:
        "../scripts/plot_sweep.py"


rule draw_fig5:
    input:
        result=example_result,
        crystal=example_truth,
    output:
        png=report(
            "results/figures/fig5.png",
            caption="../report/fig5.rst",
            category="Figures",
            labels={"figure": "5", "shows": "How a reconstruction converges"},
        ),
        pdf="results/figures/fig5.pdf",
        csv="results/figures/fig5.csv",
    log:
        "results/logs/figures/fig5.log",
    benchmark:
        "results/benchmarks/figures/fig5.tsv"
    conda:
        environment
    resources:
        mem_mb=1500,
        runtime=15,
    message:
        "Figure 5: how a reconstruction converges"
    script:
        "../scripts/plot_convergence.py"


rule draw_fig6:
    input:
        trials=trials_of_defects,
        crystals=crystals_of_defects,
    output:
        png=report(
            "results/figures/fig6.png",
            caption="../report/fig6.rst",
            category="Figures",
            labels={"figure": "6", "shows": "Reconstructed defects"},
        ),
        pdf="results/figures/fig6.pdf",
        csv="results/figures/fig6.csv",
    log:
        "results/logs/figures/fig6.log",
    benchmark:
        "results/benchmarks/figures/fig6.tsv"
    conda:
        environment
    resources:
        mem_mb=1500,
        runtime=15,
    params:
        planned=lambda wildcards: len(conditions("defects")),
        colour="displacement",
    message:
        "Figure 6: reconstructed defects"
    script:
        "../scripts/plot_slices.py"


rule draw_fig7:
    input:
        table="results/temperature/trials.csv",
    output:
        png=report(
            "results/figures/fig7.png",
            caption="../report/fig7.rst",
            category="Figures",
            labels={
                "figure": "7",
                "shows": "Errors and resolution against the temperature",
            },
        ),
        pdf="results/figures/fig7.pdf",
        csv="results/figures/fig7.csv",
    log:
        "results/logs/figures/fig7.log",
    benchmark:
        "results/benchmarks/figures/fig7.tsv"
    conda:
        environment
    resources:
        mem_mb=1500,
        runtime=15,
    params:
        sweep="temperature",
    message:
        "Figure 7: errors and resolution against the temperature"
    script:
        "../scripts/plot_sweep.py"


rule draw_series:
    input:
        table="results/series/trials.csv",
    output:
        png=report(
            "results/figures/series.png",
            caption="../report/series.rst",
            category="Figures",
            labels={"figure": "series", "shows": "Atoms over the states of a series"},
        ),
        pdf="results/figures/series.pdf",
        csv="results/figures/series.csv",
    log:
        "results/logs/figures/series.log",
    benchmark:
        "results/benchmarks/figures/series.tsv"
    conda:
        environment
    resources:
        mem_mb=1500,
        runtime=15,
    message:
        "Figure: atoms over the states of a series"
    script:
        "../scripts/plot_series.py"


rule draw_fig8:
    input:
        trials=trials_at_temperatures,
        crystals=crystals_at_temperatures,
    output:
        png=report(
            "results/figures/fig8.png",
            caption="../report/fig8.rst",
            category="Figures",
            labels={"figure": "8", "shows": "Reconstructions at several temperatures"},
        ),
        pdf="results/figures/fig8.pdf",
        csv="results/figures/fig8.csv",
    log:
        "results/logs/figures/fig8.log",
    benchmark:
        "results/benchmarks/figures/fig8.tsv"
    conda:
        environment
    resources:
        mem_mb=1500,
        runtime=15,
    params:
        planned=lambda wildcards: len(config["figures"]["temperatures"]),
        colour="error",
    message:
        "Figure 8: reconstructions at several temperatures"
    script:
        "../scripts/plot_slices.py"
