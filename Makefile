# make run    a long-tailed training on the digits images, in a fresh .venv if there is none
# make test   formatting, lint, types and tests
# make format puts imports and lines in order
# PYTHON=python3.12 make run    with another Python (3.11 or newer)

PYTHON ?= python3
BIN := .venv/bin
# uv where there is one, and pip where there is none or it does not know the index that pip is told of
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
INSTALL = $(if $(shell command -v uv),uv pip install --quiet --python $(BIN)/python $(1) || )$(PIP) $(1)

.PHONY: run test format clean

run: .venv/installed
	$(BIN)/longtail

test: .venv/installed-test
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	MYPY_NUM_WORKERS=2 $(BIN)/mypy
	$(BIN)/pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

format: .venv/installed-test
	$(BIN)/ruff check --fix --exit-zero --quiet
	$(BIN)/ruff format --quiet

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("$(PYTHON) is %d.%d: Longtail needs Python 3.11 or newer, say PYTHON=..." \
		% sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "installing PyTorch, Lightning, Hydra, W&B and Longtail into .venv: a few minutes the first time"
	$(PYTHON) -m venv .venv
	$(call INSTALL,--constraint constraints.txt --editable .)
	@touch $@

.venv/installed-test: .venv/installed
	@echo "installing what the tests need"
	$(call INSTALL,--constraint constraints.txt --editable '.[test]')
	@touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache
