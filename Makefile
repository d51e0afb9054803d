# Two commands matter: `make quickstart` and `make test`. Both set up .venv themselves.
PYTHON ?= python3
VENV ?= .venv
BIN = $(abspath $(VENV))/bin
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(shell find csrc -type f)
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# What `test` needs first; CI sets it empty, where the wheel is already installed.
SETUP ?= dev

.PHONY: help setup dev quickstart test lint format bench docs clean
help:
	@echo "make quickstart   set up, get MovieLens 100K, train, evaluate, recommend (about 4 minutes)"
	@echo "make test         set up and run the tests"
	@echo "make dev          set up .venv for development, the package editable"
	@echo "make lint         all static checks"
	@echo "make format       mend what the formatters can"
	@echo "make docs         build the documentation site and check its links (build/docs/index.html)"
	@echo "make bench        time the ops beside their baselines, under pytest-benchmark"
	@echo "make clean        remove .venv, build, data and runs"

setup: $(VENV)/.setup
dev: $(VENV)/.dev

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "Python 3.11 to 3.13 is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.setup: $(VENV)/bin/python $(SOURCES)
	@echo "Installing mmgrec-engine and what it needs into $(VENV) (one to two minutes)"
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.setup
	$(PIP) -e '.[dev]'
	@touch $@

quickstart: setup
	$(BIN)/mmgrec data get ml-100k --out data/ml-100k
	$(BIN)/mmgrec train data/ml-100k --out runs/ml-100k
	$(BIN)/mmgrec evaluate runs/ml-100k
	$(BIN)/mmgrec recommend runs/ml-100k --user 1 --user 2 --user 3

# From a folder without our packages, so that the installed package is tested and not the folders beside it.
test: $(SETUP)
	cd $(abspath $(VENV)) && $(BIN)/pytest "$(CURDIR)/tests"

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $$(find csrc tests -name '*.cpp' -o -name '*.h' -o -name '*.cu')
	$(BIN)/codespell
	cd $(abspath $(VENV)) && $(BIN)/mypy --config-file "$(CURDIR)/pyproject.toml" -p mmgrec -p mmgrec_engine
	cd $(abspath $(VENV)) && $(BIN)/lint-imports "$(CURDIR)/pyproject.toml" --no-cache

format: dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(find csrc tests -name '*.cpp' -o -name '*.h' -o -name '*.cu')

bench: dev
	cd $(abspath $(VENV)) && $(BIN)/pytest "$(CURDIR)/benches" --benchmark-only

# What `docs` needs first; CI sets it empty, as for `test`.
DOCS_SETUP ?= $(VENV)/.docs
DOCS_OUT ?= build/docs
docs: $(DOCS_SETUP)
	cd $(abspath $(VENV)) && $(BIN)/python -m sphinx -W --keep-going -q -d $(abspath $(DOCS_OUT))/.doctrees "$(CURDIR)/docs" $(abspath $(DOCS_OUT))
	$(BIN)/python docs/check_site.py $(DOCS_OUT)

$(VENV)/.docs: $(VENV)/.setup
	$(PIP) -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) build data runs
