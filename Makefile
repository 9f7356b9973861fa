# Usage: make demo | test | lint | parity | docs | bench | clean   (PYTHON= and VENV= choose the interpreter and environment)
PYTHON ?= python3
VENV ?= .venv
PARITY_VENV ?= .venv-parity
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PARITY_STAMP := $(PARITY_VENV)/.installed

# glibc gives large buffers back to the kernel after every step; keeping them, which only its main arena can, saves a page
# fault per page per step.
export MALLOC_TRIM_THRESHOLD_ ?= 8589934592
export MALLOC_MMAP_THRESHOLD_ ?= 8589934592
export MALLOC_ARENA_MAX ?= 1

.PHONY: demo test lint parity golden docs bench clean install

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jaxvision needs Python >= 3.11, found %d.%d: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	$(BIN)/jaxvision demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# PyTorch, torchvision, timm and transformers live here and nowhere else: what the catalogue and the golden vectors are of.
PARITY_PEERS := timm==1.0.31 torch==2.14.1 torchvision==0.29.1 'transformers>=5.24,<6'

$(PARITY_STAMP): pyproject.toml Makefile
	$(PYTHON) -m venv $(PARITY_VENV)
	$(PARITY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PARITY_PEERS)
	$(PARITY_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# Every architecture, and whatever else has a counterpart there; writes docs/parity.csv. --missing goes on with a sweep.
parity: $(PARITY_STAMP)
	$(PARITY_VENV)/bin/python -m pytest -n 2 -m parity tests/parity tests/test_docs.py

# Writes docs/models.md from the catalogue and docs/parity.csv.
docs: $(STAMP)
	$(BIN)/python docs/make_models.py

# Rewrites the committed golden vectors from timm.
golden: $(PARITY_STAMP)
	$(PARITY_VENV)/bin/python -m tests.reference.make_golden
	$(PARITY_VENV)/bin/python -m tests.reference.make_preprocess_golden
	$(PARITY_VENV)/bin/python -m tests.reference.make_features
	$(PARITY_VENV)/bin/python -m tests.reference.make_source_keys

bench: $(PARITY_STAMP)
	for file in benchmarks/*.py; do $(PARITY_VENV)/bin/python $$file || exit 1; done

clean:
	rm -rf $(VENV) $(PARITY_VENV) .venv* runs build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
