# Two commands from a fresh clone: `make demo` and `make test`.
VENV ?= .venv
WORKERS ?= 2
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c 0 2>/dev/null && echo $$p && break; done)

SHELL := /bin/bash
python := $(VENV)/bin/python
pip := $(python) -m pip install -qq --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint lava clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(VENV)/bin/snnkit demo

test: $(VENV)/.installed-dev
	@echo "== tests"
	@$(python) -m pytest -n $(WORKERS) --dist worksteal

lint: $(VENV)/.installed-dev
	@echo "== ruff"
	@$(python) -m ruff check .
	@$(python) -m ruff format --check .
	@echo "== pyright"
	@$(python) -m pyright --pythonpath $(python)

lava:
	@$(if $(PYTHON),$(PYTHON),python3) hardware/lava/build.py $(SNNKIT_LAVA)

clean:
	rm -rf $(VENV) hardware/lava/.venv build dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.torch: constraints.txt
	@test -n "$(PYTHON)" || { echo "snnkit needs Python 3.11 or newer; neither python3.11 nor python3 runs here. \
	Install one, or name it: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	echo "snnkit needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). \
	Name a newer one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "== environment: $(VENV), $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV)
	@echo "== torch"
	@$(pip) torch
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	@echo "== snnkit"
	@$(pip) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml
	@echo "== snnkit, with what its tests need"
	@$(pip) -e ".[dev]"
	@touch $@ $(VENV)/.installed
