# Each target does everything from a fresh clone: it creates .venv, installs under constraints.txt and runs.
#     make train   train the default agent and compare it with the heuristics
#     make test    linters, type checks, import contracts, all tests, and the kernel's tests again without Numba
#     make mutants put faults into the code, and list those that no test notices; takes hours
#     make docs    build the site in site/; a warning is an error
#     make lint    the checks without the tests
#     make format  let ruff rewrite what it can

PYTHON ?= python3
EXTRAS ?= rl,codec,bench,deploy,live,ray,docs,dev
PYTEST_ARGS ?=
MUTANTS_ARGS ?=

BIN := .venv/bin
INSTALLED := .venv/installed-$(EXTRAS)

.DEFAULT_GOAL := test
.PHONY: train test mutants docs lint format clean

train: .venv/installed-rl
	$(BIN)/python train.py

test: lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)
	NUMBA_DISABLE_JIT=1 $(BIN)/python -m pytest -m kernel $(PYTEST_ARGS)

mutants: $(INSTALLED)
	$(BIN)/python -m tests.mutants $(MUTANTS_ARGS)

docs: .venv/installed-docs
	$(BIN)/properdocs build --strict

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv build dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the extras in the name bring, on top of what is there
.venv/installed-%: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[$*]'
	touch $@
