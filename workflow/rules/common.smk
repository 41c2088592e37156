# What the rules share: names of conditions, seeds, and which files a target needs.
import hashlib
import json
import re
import shlex
import subprocess

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

validate(config, "../schemas/config.schema.yaml")

# The programs beside this Python come first, also in jobs on other machines; prammol is the
# one of this checkout; one thread per process, since ranks and jobs already share the cores.
os.environ.update(
    PATH=os.pathsep.join([os.path.dirname(sys.executable), *os.get_exec_path()]),
    PYTHONPATH=os.pathsep.join(
        filter(None, [workflow.basedir, os.getenv("PYTHONPATH")])
    ),
    OMP_NUM_THREADS="1",
)


def environment(wildcards):
    """The conda environment of every rule, with `--software-deployment-method conda`, else none.

    Snakemake 8 hangs when a job fails that has one and there is no conda.
    """
    methods = workflow.deployment_settings.deployment_method
    wanted = any(method.name == "CONDA" for method in methods)
    return os.path.join(workflow.basedir, "environment.yml") if wanted else None


TRIAL = "results/{study}/{condition}/trial-{trial}"
LOG = "results/logs/{study}/{condition}/trial-{trial}"
BENCHMARK = "results/benchmarks/{study}/{condition}/trial-{trial}"
OWNER = Path("results/configuration.txt")


def studies_of_kind(*kinds):
    """Names of the studies of some kinds."""
    return [name for name, s in config["studies"].items() if s["kind"] in kinds]


def any_of(names):
    """Regular expression that matches one of the names, or nothing."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


wildcard_constraints:
    study=any_of(config["studies"]),
    sample=any_of(config["samples"]),
    condition=r"[A-Za-z0-9.-]+",
    trial=r"\d\d",
    figure=r"fig\d",


def flux_label(value):
    """Name of a flux: 1e18, 2.34e13."""
    mantissa, exponent = f"{float(value):.6e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def temperature_label(value):
    """Name of a temperature: 300K."""
    return f"{float(value):g}K"


def conditions(study):
    """Names of the conditions of a study, in the order of the configuration."""
    settings = config["studies"][study]
    if settings["kind"] == "flux":
        return [flux_label(v) for v in settings["flux"]]
    if settings["kind"] == "temperature":
        return [temperature_label(v) for v in settings["temperature"]]
    if settings["kind"] == "series":
        return [f"state-{n:02d}" for n in range(settings["states"])]
    return settings["samples"]


def sample_of(wildcards):
    """Name of the crystal of a condition."""
    settings = config["studies"][wildcards.study]
    return settings.get("sample", wildcards.condition)


def sample_file(wildcards):
    if wildcards.study in studies_of_kind("series"):
        return truth_file(wildcards)
    return f"results/samples/{sample_of(wildcards)}.xyz"


def truth_file(wildcards):
    """What a trial is compared with: the crystal, or its mean over a trajectory."""
    return truth_of(wildcards.study, wildcards.condition)


def truth_of(study, condition):
    if study in studies_of_kind("temperature"):
        return f"results/{study}/{condition}/mean.xyz"
    if study in studies_of_kind("series"):
        return f"results/{study}/{condition}/truth.xyz"
    return f"results/samples/{config['studies'][study].get('sample', condition)}.xyz"


def state_before(wildcards):
    """Name of the state before a state of a series."""
    number = int(wildcards.condition.removeprefix("state-"))
    return f"state-{number - 1:02d}"


def true_state_before(wildcards):
    return truth_of(wildcards.study, state_before(wildcards))


def first_sample(wildcards):
    sample = config["studies"][wildcards.study]["sample"]
    return f"results/samples/{sample}.xyz"


def initial_result(wildcards):
    """The result that a reconstruction starts from; none but in a series after its first state."""
    is_series = wildcards.study in studies_of_kind("series")
    if not is_series or wildcards.condition == "state-00":
        return []
    folder = f"results/{wildcards.study}/{state_before(wildcards)}"
    return [f"{folder}/trial-{wildcards.trial}/reconstruction.h5"]


def change_options(wildcards):
    """Options of `prammol crystal` that make the next state of a series."""
    change = config["studies"][wildcards.study]["change"]
    seed = seed_for(wildcards.study, wildcards.condition, "truth")
    kind = "grown" if change > 0 else "dissolved"
    own = [kind, "--by", str(abs(change)), "--seed", str(seed)]
    return own + potential_of(wildcards)


def scattering_file(wildcards):
    """What a warm trial is also compared with; nothing for a crystal at rest."""
    if wildcards.study in studies_of_kind("temperature"):
        return [f"results/{wildcards.study}/{wildcards.condition}/scattering.npz"]
    return []


def flux_of(wildcards):
    """Flux of a condition; any flux can be asked for, also one that isn't in the list."""
    settings = config["studies"][wildcards.study]
    if settings["kind"] != "flux":
        return flux_label(settings["flux"])
    try:
        label = flux_label(wildcards.condition)
    except ValueError:
        label = ""
    if label != wildcards.condition:
        raise WorkflowError(
            f"{wildcards.condition} isn't the name of a flux, expected for example 1e18"
        )
    return label


def temperature_of(wildcards):
    """Temperature of a condition [K]."""
    match = re.fullmatch(r"(\d+(\.\d+)?)K", wildcards.condition)
    if match is None:
        raise WorkflowError(
            f"{wildcards.condition} isn't the name of a temperature, expected for example 300K"
        )
    return float(match[1])


def seed_for(*names):
    """A seed of 31 bits that depends on the configured seed and on names, on nothing else."""
    text = ":".join([str(config["seed"]), *names])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def seed_of_counts(wildcards):
    return seed_for(wildcards.study, wildcards.condition, wildcards.trial, "counts")


def seed_of_reconstruction(wildcards):
    return seed_for(
        wildcards.study, wildcards.condition, wildcards.trial, "reconstruct"
    )


def seed_of_trajectory(wildcards):
    return seed_for(wildcards.study, wildcards.condition, "trajectory")


def crystal_options(wildcards):
    """Options of `prammol crystal`."""
    settings = config["samples"][wildcards.sample]
    options = [settings["kind"]]
    for name in ("atoms", "seed"):
        if settings[name] is not None:
            options += [f"--{name}", str(settings[name])]
    return options + potential_options(wildcards.sample)


def potential_options(sample):
    """Options that describe the potential of a crystal, quoted for the shell."""
    options = []
    for name, value in config["samples"][sample]["potential"].items():
        option = "--potential" if name == "file" else f"--{name.replace('_', '-')}"
        for text in value if isinstance(value, list) else [value]:
            options.append(f"{option}={shlex.quote(str(text))}")
    return options


def potential_of(wildcards):
    """The same for the crystal of a condition."""
    return potential_options(sample_of(wildcards))


def settings_of(wildcards):
    """Options of `prammol reconstruct` that change settings of the preset."""
    return [
        f"--set {shlex.quote(s)}"
        for s in config["studies"][wildcards.study]["settings"]
    ]


def trials(study, condition, name):
    """One file of every trial of a condition."""
    paths = [
        f"results/{study}/{condition}/trial-{n:02d}/{name}"
        for n in range(1, config["studies"][study]["trials"] + 1)
    ]
    if config["figures"]["missing_trials"] == "skip":
        paths = [p for p in paths if os.path.exists(p)]
    return paths


def trials_of_study(wildcards):
    return [
        p
        for c in conditions(wildcards.study)
        for p in trials(wildcards.study, c, "metrics.json")
    ]


def trials_of_condition(wildcards):
    return trials(wildcards.study, wildcards.condition, "errors.xyz")


def resolutions_of_study(wildcards):
    """The resolution of every condition that has a trial."""
    return [
        f"results/{wildcards.study}/{c}/resolution.json"
        for c in conditions(wildcards.study)
        if trials(wildcards.study, c, "errors.xyz")
    ]


def number_of_trials(wildcards):
    """How many trials the study should have in all, to say how many are missing."""
    number = config["studies"][wildcards.study]["trials"]
    return number * len(conditions(wildcards.study))


def ranks(wildcards, threads):
    """MPI ranks of a job: one for each of its threads."""
    return threads


def launcher(wildcards, threads):
    """How a job of several ranks is started; a profile may say otherwise."""
    return "mpiexec" if threads > 1 else ""


def all_tables():
    return [f"results/{study}/trials.csv" for study in config["studies"]]


def all_trials():
    """Folders of all trials, whether they exist or not."""
    return [
        f"results/{study}/{condition}/trial-{n:02d}"
        for study, settings in config["studies"].items()
        for condition in conditions(study)
        for n in range(1, settings["trials"] + 1)
    ]


def tables_of_other_fluxes(wildcards):
    """Tables of the flux studies besides `flux`, which Fig. 4 shows with it."""
    return [
        f"results/{study}/trials.csv"
        for study, settings in config["studies"].items()
        if settings["kind"] == "flux" and study != "flux"
    ]


FIGURES = {
    "fig2": [],
    "fig3": ["example"],
    "fig4": ["flux"],
    "fig5": ["example"],
    "fig6": ["defects"],
    "fig7": ["temperature"],
    "fig8": ["temperature"],
    "film": ["example"],
    "series": ["series"],
}


def figure_files(name):
    suffixes = ("png", "gif", "csv") if name == "film" else ("png", "pdf", "csv")
    return [f"results/figures/{name}.{suffix}" for suffix in suffixes]


def all_figures():
    """The figures whose study is configured."""
    known = {*config["studies"]}
    if config["figures"]["example"].split("/")[0] in known:
        known.add("example")
    names = [name for name, needs in FIGURES.items() if known.issuperset(needs)]
    return [path for name in names for path in figure_files(name)]


def all_views():
    """A page for the first trial of each example crystal."""
    studies = studies_of_kind("samples")
    named = [(study, c) for study in studies for c in conditions(study)]
    if not named:
        study, condition, _ = config["figures"]["example"].split("/")
        named = [(study, condition)] if study in config["studies"] else []
    if config["figures"]["missing_trials"] == "skip":
        result = "results/{}/{}/trial-01/reconstruction.h5"
        named = [pair for pair in named if os.path.exists(result.format(*pair))]
    return [f"results/views/{study}-{condition}.html" for study, condition in named]


def check_samples():
    """Every study names crystals that exist."""
    for name, study in config["studies"].items():
        for sample in [study.get("sample"), *study.get("samples", [])]:
            if sample is not None and sample not in config["samples"]:
                raise WorkflowError(
                    f"studies/{name}: there is no sample {sample!r}, "
                    f"expected one of {', '.join(config['samples'])}"
                )


def check_results():
    """results/ holds this configuration's results, or none."""
    owner = OWNER.read_text().strip() if OWNER.exists() else config["name"]
    if owner != config["name"]:
        raise WorkflowError(
            f"results/ holds the results of configuration {owner!r}, this is {config['name']!r}: "
            "run it elsewhere with --directory DIR, or move results/ away"
        )


def claim_results():
    OWNER.parent.mkdir(exist_ok=True)
    OWNER.write_text(config["name"] + "\n")


def write_trials_page():
    """List the trials, and why some have no result."""
    script = Path(workflow.basedir) / "workflow/scripts/trials_page.py"
    command = [sys.executable, script, "-o", "results/trials.html", *all_trials()]
    subprocess.run(command, check=True)


check_samples()
check_results()
