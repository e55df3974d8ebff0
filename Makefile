# Every target creates the virtual environment it needs; a fresh machine only has to have Python 3.11 or newer.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
# The tests run as processes, each with one thread: faster than one process with many, and the same on every machine.
WORKERS ?= logical

.PHONY: help install quickstart test check format docs bench bench-all clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

install: $(VENV)/installed ## the virtual environment .venv with Accord in it, editable

$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

quickstart: install ## the whole loop on the embedded world, in minutes
	$(BIN)/accord quickstart

test: install ## the whole test suite
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8

check: install ## format, lint, strict types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install ## bring the source into the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: install ## the pages of the methods and of the intervals, from docstrings and measured figures
	$(BIN)/python -m accord.recipes.method_pages docs
	$(BIN)/python -m accord.recipes.coverage_page docs

$(BENCH)/installed: benchmarks/requirements.txt pyproject.toml constraints.txt
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet -r benchmarks/requirements.txt -e .
	touch $@

bench: $(BENCH)/installed ## side by side with TRL, in an environment of its own: a small model, minutes
	$(BENCH)/bin/python -m benchmarks

bench-all: $(BENCH)/installed ## speed and memory beside TRL for every model and shape, hours; takes up where it ended
	$(BENCH)/bin/python -m benchmarks speed --all --resume

clean: ## remove the environments and every cache; runs/ stays
	rm -rf $(VENV) $(BENCH) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
