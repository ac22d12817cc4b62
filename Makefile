# Everything starts from nothing: a target makes the virtual environment it needs. PYTHON, VENV and RUN may be given.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
RUN ?= runs/smollm2-135m
HOURS ?= 2
PROBE_HOURS ?= 0.5
MUTANTS ?=
SAMPLE ?=
MODELS ?= small-models
RESULTS ?= docs/results/smollm2-135m
BIN := $(VENV)/bin
# Files side by side, one process a core and at most four: each holds a model of its own.
PYTEST := $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

.DEFAULT_GOAL := help
.PHONY: help report test test-all test-longest check study small-models readme screenshots notebooks docs bench check-gpu audit release fuzz mutants reliability chromium clean

help:
	@echo "make report     score every attention head of the embedded model, write $(RUN)/report.html"
	@echo "make test       the default test suite"
	@echo "make test-all   the slow tier too, on the real model; make test-longest adds simulations and a training"
	@echo "make check      formatter, ruff and mypy"
	@echo "also: study, small-models, docs, readme, screenshots, notebooks, bench, check-gpu, audit, release, fuzz, mutants, reliability, clean"

# ---- environments: a stamp appears only when an install has succeeded
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "headscope needs Python 3.11 or newer; say which one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(BIN)/python install pip; }

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all]'
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[all,dev]'
	touch $@

# ---- what a person runs
report: $(VENV)/.run
	$(BIN)/headscope induction --protocol quick -o $(RUN)
	@echo "$(abspath $(RUN))/report.html"

test: $(VENV)/.dev chromium
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.dev chromium
	$(PYTEST) -m "not longest"

test-longest: $(VENV)/.dev chromium
	$(PYTEST) -m longest

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The study of the embedded model: the probes, and the 14 tasks where HEADSCOPE_DATA names a folder that has them. Stopped at
# any moment, the same command goes on. HOURS are for the 14 tasks, PROBE_HOURS for the probes.
study: $(VENV)/.run
	$(BIN)/headscope study --budget $(PROBE_HOURS) -o runs/study/probes --publish $(RESULTS)
	@if [ -n "$${HEADSCOPE_DATA:-}" ]; then set -x; \
	  $(BIN)/headscope study --tasks icl14 --data "$$HEADSCOPE_DATA" --shots 0,5 --budget $(HOURS) -o runs/study/icl14 --publish $(RESULTS); \
	else echo "HEADSCOPE_DATA is not set: the 14 tasks are left out"; fi

# Models of one to four layers, trained from nothing, and their page. What is there already is neither trained nor measured again.
small-models: $(VENV)/.dev chromium
	$(BIN)/python examples/train_small_models.py --out $(MODELS)
	$(BIN)/python docs/small_models.py $(MODELS)

# The README's table and picture, from the run of `make report`.
readme: $(VENV)/.dev chromium
	$(BIN)/python docs/readme.py $(RUN)

# The inspector and the report as they look, from the run of `make report` (or RUN=DIR), for the documentation.
screenshots: $(VENV)/.dev chromium
	$(BIN)/python docs/screenshots.py $(RUN)

# The notebooks of examples/ with what they show.
notebooks: $(VENV)/.dev chromium
	$(BIN)/python docs/notebooks.py

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

# Every benchmark, one after the other, into docs/benchmarks.md: on a machine that nobody else uses.
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/page.py

# Every command on the first CUDA device beside the CPU's numbers, and its throughput.
check-gpu: $(VENV)/.run
	$(BIN)/python benchmarks/check_gpu.py

# Needs the network and its database of advisories.
audit: $(VENV)/.run
	$(BIN)/python -m pip install --quiet -c constraints.txt pip-audit
	$(BIN)/pip-audit --skip-editable

# What is handed out: source and wheel, and a bill of materials (CycloneDX) of what the wheel installs, made from an environment
# that holds nothing else.
release: $(BIN)/python
	rm -rf dist
	$(BIN)/python -m venv --clear build/tools
	build/tools/bin/python -m pip install --quiet build==1.6.1 cyclonedx-bom==7.5.0
	build/tools/bin/python -m build --outdir dist
	$(BIN)/python -m venv --clear build/release
	build/release/bin/python -m pip install --quiet torch==2.13.0
	build/release/bin/python -m pip install --quiet -c constraints.txt "$$(ls dist/*.whl)[all]"
	build/tools/bin/cyclonedx-py environment build/release/bin/python --pyproject pyproject.toml --output-reproducible --output-file dist/headscope.cdx.json

# 100,000 made-up inputs to everything that takes something from outside: files, options, requests.
fuzz: $(VENV)/.dev
	HEADSCOPE_FUZZ=100000 $(BIN)/python -m pytest -q tests/test_fuzz.py

# The table of docs/reliability.md: faults made on purpose, and how each ended.
reliability: $(VENV)/.dev
	$(BIN)/python docs/reliability.py

# One change at a time in the files named under [tool.mutmut], and the tests that reach it; prints the changes that no test
# noticed and counts them in docs/reliability.md. SAMPLE=300 draws so many; MUTANTS="interp.scores*" takes those of a file.
mutants: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -c constraints.txt mutmut
	$(BIN)/python docs/mutants.py $(if $(SAMPLE),--sample $(SAMPLE)) $(if $(MUTANTS),"$(MUTANTS)")

# The browser tests use the machine's Chromium, under two sets of fonts; where one is not there and can't be installed, what
# needs it is skipped and says so.
chromium:
	@have() { command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null; }; \
	if [ -n "$${HEADSCOPE_CHROMIUM:-}" ] || have || ! grep -rqs 'mark\.browser' tests || ! command -v apt-get >/dev/null; then exit 0; fi; \
	as_root=(); if [ "$$(id -u)" != 0 ]; then as_root=(sudo -n); fi; \
	{ "$${as_root[@]}" apt-get update -qq && "$${as_root[@]}" apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core fonts-noto-core; } \
	  || echo "Chromium could not be installed: the browser tests will be skipped." >&2

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis site
