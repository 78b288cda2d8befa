# Every target sets up what it needs in .venv, from the lock files. `make demo` and `make test` are all a newcomer needs.
SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Bytecode on every core afterwards: pip makes it on one; what is seldom or never imported is left to its first import.
# A library may carry files for other Pythons, hence the dash.
COMPILE := $(BIN)/python -m compileall -q -j 0 -x '/(tests?|_tests|testing|sympy|fontTools|pygments)/' $(VENV)/lib \
	>/dev/null 2>&1
SELF := $(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
export OMP_NUM_THREADS ?= 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help demo test check docs bench clean
.DEFAULT_GOAL := help

help:            ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(VENV)/.made:
	scripts/venv $(VENV) $(PYTHON)
	scripts/system-libraries
	touch $@

$(VENV)/.run: $(VENV)/.made requirements/run.lock pyproject.toml
	scripts/install $(VENV) requirements/run.lock
	$(SELF)
	-@$(COMPILE)
	touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.lock
	scripts/install $(VENV) requirements/dev.lock
	-@$(COMPILE)
	touch $@

demo: $(VENV)/.run   ## the main job on a synthetic cohort; the report is results/demo/report.html
	$(BIN)/icans demo --output results/demo

test: $(VENV)/.dev   ## the tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(VENV)/.dev  ## format, lint, types, layers, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile

docs: $(VENV)/.dev   ## the documentation, strictly, into site/
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.dev  ## the benchmarks; results go to benchmarks/results/
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

clean:           ## remove the environment and what was built
	rm -rf $(VENV) site build dist results
