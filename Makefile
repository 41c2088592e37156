# make help lists the targets. All of them work in an environment of their own,
# .venv at the top of the checkout; the only needs are Python >= 3.11, make and git.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
READY_RUN := $(VENV)/.ready-run
READY_DEV := $(VENV)/.ready-dev
READY_BENCH := $(VENV)/.ready-bench
READY_DOCS := $(VENV)/.ready-docs

# One thread per process unless asked otherwise: OMP_NUM_THREADS=4 make demo
export OMP_NUM_THREADS ?= 1

FUZZ ?= 100000
LOAD ?= results/load

# The longest files first, as tests/conftest.py sorts them.
PARALLEL := -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# What the tests need; and the tests in which each library is at work, minutes in all.
EXTRAS := test,workflow
LIBRARY_TESTS := $(addprefix tests/,cli/test_main.py cli/test_settings.py core/test_mpi.py \
  diffraction/test_structure_factor.py io/test_atomic_write.py io/test_atoms.py io/test_cxi.py \
  io/test_fuzz.py io/test_result.py io/test_support_from_object.py \
  phasing/test_support_from_counts.py plotting potentials/test_adatoms.py \
  potentials/test_lammps.py project/test_environment.py project/test_own_data.py \
  workflow/test_workflow.py)

.DEFAULT_GOAL := help
.PHONY: help demo test test-mpi test-slow test-slurm test-storm test-load test-oldest test-newest \
  test-libraries fuzz smoke check format bench results-index package docs docs-links three clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: $(READY_RUN)  ## simulate and reconstruct the paper's vacancy crystal, 4679 atoms
	$(BIN)/prammol demo results/demo

test: $(READY)  ## the test-suite, some 7 minutes on two cores
	$(BIN)/python -m pytest -m "not slow and not slurm" $(PARALLEL)

test-mpi: $(READY)  ## only the tests that start several processes
	$(BIN)/python -m pytest -m "mpi and not slow"

test-slow: $(READY)  ## only the tests that take minutes each
	$(BIN)/python -m pytest -m "slow and not slurm"

test-slurm: $(READY)  ## the workflow on a SLURM brought up for it; needs root, installs packages
	$(BIN)/python -m pytest -m "slurm and not slow"

test-storm: $(READY)  ## 60 trials in 12 jobs of such a SLURM, a tenth killed: some minutes
	$(BIN)/python -m pytest -m "slurm and slow"

test-load: $(READY)  ## 300 trials on such a SLURM, one start in ten killed: most of an hour; LOAD=FOLDER
	$(BIN)/python tests/slurm/load.py $(LOAD)

test-oldest:  ## the libraries at their lower bounds, in .venv-oldest; TESTS=tests for all tests
	$(MAKE) VENV=.venv-oldest .venv-oldest/bin/python
	.venv-oldest/bin/python tests/oldest.py > .venv-oldest/constraints.txt
	PIP_CONSTRAINT=.venv-oldest/constraints.txt $(MAKE) VENV=.venv-oldest test-libraries

test-newest:  ## the same with the newest libraries, in a new .venv-newest; PIP_PRE=1 for betas
	rm -rf .venv-newest
	PIP_CONSTRAINT= $(MAKE) VENV=.venv-newest test-libraries

test-libraries: EXTRAS := test,workflow,phasing
test-libraries: $(READY)
	$(BIN)/python -m pip --disable-pip-version-check check
	$(BIN)/python -m pytest -m "not slow and not slurm" $(PARALLEL) \
	  $(or $(TESTS),$(LIBRARY_TESTS))

fuzz: $(READY)  ## hostile files for every reader, 100 000 and more; FUZZ=N for another number
	$(BIN)/python tests/fuzzing.py --inputs $(FUZZ)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]' || \
	  echo "no atheris for this Python: the part guided by coverage is LEFT OUT" >&2
	$(BIN)/python tests/fuzz_coverage.py --inputs $(FUZZ)

smoke: $(READY)  ## the workflow on small crystals, all figures and the report, in results/smoke
	@mkdir -p results/smoke
	$(BIN)/snakemake --profile profiles/local --configfile config/smoke.yaml \
	  --directory results/smoke -- report

check: $(READY_DEV)  ## style, format, types, known vulnerabilities of packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/python -m pip --disable-pip-version-check check
	$(BIN)/python tests/audit.py

format: $(READY_DEV)  ## put the sources into the common format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: $(READY_BENCH)  ## time, error and memory beside dynasor, diffsim, LAMMPS, ducc0 and finufft
	$(BIN)/python benchmarks/side_by_side.py

results-index: $(READY)  ## the list of tables and pictures, docs/results/index.md
	$(BIN)/python benchmarks/results_index.py

package: | $(BIN)/python  ## sdist and wheel, checked, installed elsewhere, every verb tried there
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'build>=1.2,<2' 'twine>=6.1,<8'
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python tests/installed.py dist/*.whl

docs: $(READY_DOCS)  ## the documentation, examples run, in docs/_build/html; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

docs-links: $(READY_DOCS)  ## whether the links that leave the documentation work; needs the internet
	$(BIN)/python -m sphinx -W --keep-going -b linkcheck -D plot_gallery=0 \
	  docs docs/_build/linkcheck

# What prammol/data/view.html uses; the licence lies beside it.
THREE := 0.187.0
THREE_USED := BufferAttribute, BufferGeometry, CanvasTexture, OrthographicCamera, Points, \
  PointsMaterial, Raycaster, Scene, Vector2, Vector3, WebGLRenderer
three:  ## bundle three.js anew for prammol view; needs npm
	rm -rf three.new && mkdir three.new
	cd three.new && npm init --yes >/dev/null && npm install --silent three@$(THREE) esbuild
	printf '%s\n' 'export { $(THREE_USED) } from "three";' \
	  'export { TrackballControls } from "three/addons/controls/TrackballControls.js";' >three.new/used.js
	head -n 2 prammol/data/three.min.js | sed -E 's/three.js [0-9.]+/three.js $(THREE)/' >three.new/new.js
	cd three.new && node_modules/.bin/esbuild used.js --bundle --minify --format=iife \
	  --global-name=THREE --legal-comments=none >>new.js
	cp three.new/node_modules/three/LICENSE prammol/data/three.LICENSE
	mv three.new/new.js prammol/data/three.min.js && rm -rf three.new

clean:  ## remove the environment and caches, keep results/
	rm -rf $(VENV) .venv-oldest .venv-newest .pytest_cache .ruff_cache .mypy_cache build dist *.egg-info \
	  docs/_build docs/auto_gallery docs/sg_execution_times.rst
	find prammol tests benchmarks -name __pycache__ -type d -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "prammol needs Python >= 3.11; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(READY_RUN): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e .
	@touch $@

$(READY): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	@touch $@

$(READY_DEV): pyproject.toml | $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,workflow,dev]'
	@touch $@

$(READY_DOCS): pyproject.toml | $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

$(READY_BENCH): pyproject.toml | $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@
