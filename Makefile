# Two commands on a fresh machine: `make run` and `make test`. Both do nothing twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ROOT ?=
RUN_FLAGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test lint types layers unit bench clean

help:
	@echo "make run    set up everything and start janagent in the foreground"
	@echo "make test   set up everything, then lint, types, layers and tests"
	@echo "make bench  the measured comparisons (builds llama-server once, about 7 minutes)"

$(BIN)/python:
	@tools= ; for t in $(PYTHON) c++ ; do command -v $$t >/dev/null 2>&1 || tools="$$tools $$t"; done; \
	if [ -n "$$tools" ]; then echo "missing:$$tools - on Debian/Ubuntu: apt-get install python3-venv g++ make"; exit 2; fi
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'

$(VENV)/.run-ready: pyproject.toml | $(BIN)/python
	@echo "installing janagent (the first time this builds llama.cpp: about five minutes)"
	$(BIN)/python -m pip install --quiet --editable '.[starter]'
	@touch $@

$(VENV)/.test-ready: pyproject.toml $(VENV)/.run-ready
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

run: $(VENV)/.run-ready
	@$(BIN)/janagent starter --if-no-models
	@$(BIN)/janagent serve $(RUN_FLAGS)

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test-ready
	$(BIN)/mypy

layers: $(VENV)/.test-ready
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/.test-ready
	$(BIN)/python -m pytest

test: lint types layers unit

bench: $(VENV)/.test-ready
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache build dist *.egg-info
