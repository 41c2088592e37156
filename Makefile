# make help lists the targets. All of them work in an environment of their own,
# .venv at the top of the checkout; the only needs are Python >= 3.11, make and git.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_BENCH := $(VENV)/.ready-bench

# One thread per process unless asked otherwise: OMP_NUM_THREADS=4 make demo
export OMP_NUM_THREADS ?= 1

FUZZ ?= 100000
LOAD ?= results/load

.DEFAULT_GOAL := help
.PHONY: help demo test test-mpi test-slow test-slurm test-load fuzz smoke check format bench clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: $(READY)  ## simulate and reconstruct the paper's vacancy crystal, 4679 atoms
	$(BIN)/python -m prammol.demo results/demo

test: $(READY)  ## the test-suite, within 10 minutes on two cores
	$(BIN)/python -m pytest -m "not slow and not slurm" -n auto --maxprocesses 8 --dist loadfile

test-mpi: $(READY)  ## only the tests that start several processes
	$(BIN)/python -m pytest -m "mpi and not slow"

test-slow: $(READY)  ## only the tests that take minutes each
	$(BIN)/python -m pytest -m slow

test-slurm: $(READY)  ## the workflow on a SLURM brought up for it; needs root, installs packages
	$(BIN)/python -m pytest -m slurm

test-load: $(READY)  ## 300 trials on such a SLURM, one start in ten killed: most of an hour; LOAD=FOLDER
	$(BIN)/python tests/slurm/load.py $(LOAD)

fuzz: $(READY)  ## hostile files for every reader, 100 000 and more; FUZZ=N for another number
	$(BIN)/python tests/fuzzing.py --inputs $(FUZZ)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]' || \
	  echo "no atheris for this Python: the part guided by coverage is LEFT OUT" >&2
	$(BIN)/python tests/fuzz_coverage.py --inputs $(FUZZ)

smoke: $(READY)  ## the workflow on small crystals, all figures and the report, in results/smoke
	@mkdir -p results/smoke
	$(BIN)/snakemake --profile profiles/local --configfile config/smoke.yaml \
	  --directory results/smoke -- report

check: $(READY_DEV)  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

format: $(READY_DEV)  ## put the sources into the common format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(READY_BENCH)  ## compare the transforms of ducc0 and finufft
	$(BIN)/python benchmarks/nufft.py

clean:  ## remove the environment and caches, keep results/
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache build dist *.egg-info
	find prammol tests benchmarks -name __pycache__ -type d -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "prammol needs Python >= 3.11; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(READY): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,workflow]'
	@touch $@

$(READY_DEV): pyproject.toml | $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,workflow,dev]'
	@touch $@

$(READY_BENCH): pyproject.toml | $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@
