# Which trials are in which batch, and what they share.
BATCHES = "results/batches"


def batches(study):
    """Folders of the trials of each job, by its number."""
    folders = [trial for trial in all_trials() if trial.split("/")[1] == study]
    size = config["batch"]
    parts = [folders[n : n + size] for n in range(0, len(folders), size)]
    return {f"{number:04d}": part for number, part in enumerate(parts, start=1)}


def batches_of_study(wildcards):
    return [f"{BATCHES}/{wildcards.study}/{n}.done" for n in batches(wildcards.study)]


def trials_of_batch(wildcards):
    trials = batches(wildcards.study)[wildcards.batch]
    return [f"{trial}/metrics.json" for trial in trials]


def common_inputs(wildcards):
    """Crystals and trajectories: several batches need the same ones."""
    study, found = wildcards.study, []
    for condition in dict.fromkeys(
        trial.split("/")[2] for trial in batches(study)[wildcards.batch]
    ):
        sample = config["studies"][study].get("sample", condition)
        found.append(f"results/samples/{sample}.xyz")
        if study in studies_of_kind("temperature"):
            folder = f"results/{study}/{condition}"
            found += [
                f"{folder}/{n}" for n in ("amplitude.npz", "mean.xyz", "scattering.npz")
            ]
    return sorted(set(found))


def write_configuration():
    """What batches are run with."""
    Path(BATCHES).mkdir(parents=True, exist_ok=True)
    Path(BATCHES, "configuration.json").write_text(json.dumps(config))
