# Which files a figure is drawn from.


def example(wildcards, name):
    """A file of the trial that Figs. 3 and 5 and the film show."""
    return f"results/{config['figures']['example']}/{name}"


def example_diffraction(wildcards):
    return example(wildcards, "diffraction.h5")


def example_result(wildcards):
    return example(wildcards, "reconstruction.h5")


def example_trajectory(wildcards):
    return example(wildcards, "trajectory.xyz")


def example_truth(wildcards):
    """What that trial is compared with."""
    study, condition, _ = config["figures"]["example"].split("/")
    return truth_of(study, condition)


def first_trials(study, chosen):
    """errors.xyz of the first trial of some conditions."""
    paths = [f"results/{study}/{condition}/trial-01/errors.xyz" for condition in chosen]
    if config["figures"]["missing_trials"] == "skip":
        paths = [p for p in paths if os.path.exists(p)]
    return paths


def trials_of_defects(wildcards):
    return first_trials("defects", conditions("defects"))


def crystals_of_defects(wildcards):
    return [
        f"results/samples/{Path(p).parts[-3]}.xyz" for p in trials_of_defects(wildcards)
    ]


def trials_at_temperatures(wildcards):
    chosen = [temperature_label(v) for v in config["figures"]["temperatures"]]
    return first_trials("temperature", chosen)


def crystals_at_temperatures(wildcards):
    return [
        str(Path(p).parents[1] / "mean.xyz") for p in trials_at_temperatures(wildcards)
    ]


def crystal_of_flux(wildcards):
    """The sample of the flux study, else the first one."""
    sample = (
        config["studies"].get("flux", {}).get("sample", next(iter(config["samples"])))
    )
    return f"results/samples/{sample}.xyz"
