# Everything works from a fresh checkout with Python 3.11 and nothing else: the targets
# make .venv, install the package from its own files into it, and run.

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TFX_VENV ?= .venv-tfx
TFX_STAMP := $(TFX_VENV)/.installed
WORKERS ?= 2
DEMO ?= runs/demo

# A little XLA and TensorFlow chatter less; errors stay.
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help install demo pipeline test lint test-slow test-tfx bench format clean

help:
	@echo "make demo       train, compare, draw, export and serve once, on synthetic data (about 5 min, first install included)"
	@echo "make pipeline   from generated records to a pushed model (about 3 min)"
	@echo "make test       lint, types and the test suite (about 20 min)"
	@echo "make test-slow  the studies that take minutes each"
	@echo "make test-tfx   a pipeline by real TFX, in an environment of its own (about 15 min, 3.5 GB)"
	@echo "make bench      time of the train step, all methods and sizes (about 30 min)"
	@echo "make format     put the code into its format"
	@echo "make clean      remove .venv, .venv-tfx, caches and runs/"

install: $(STAMP)

$(STAMP): setup.cfg pyproject.toml
	@echo "==> Installing into $(VENV): 2 to 4 minutes, 2.5 GB."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
		|| { echo "Python 3.11 is needed: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	@echo "==> Demo: two trainings on synthetic data, a picture, an export: 1 to 3 minutes."
	$(BIN)/tf-mtl demo --output_dir=$(DEMO)

pipeline: $(STAMP)
	@echo "==> Pipeline: from generated records to a pushed model, about 3 minutes."
	test -d runs/feed || $(BIN)/python -m pipelines.synthetic_feed.generator --output_dir=runs/feed
	$(BIN)/python -m pipelines.run --pipeline=synthetic_feed --data_dir=runs/feed

lint: $(STAMP)
	@echo "==> Lint and types: about a minute."
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	@echo "==> Tests: about 20 minutes with $(WORKERS) workers."
	$(BIN)/python -m pytest -n $(WORKERS) --dist=loadscope -m "not slow and not tfx" --durations=15

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n $(WORKERS) --dist=loadscope -m slow --durations=15

# Real TFX needs a newer C library than some systems have: an environment of its own.
test-tfx: $(TFX_STAMP)
	@echo "==> A pipeline by real TFX: 5 to 10 minutes."
	$(TFX_VENV)/bin/python -m pytest -m tfx --durations=0 tests/tfx

$(TFX_STAMP): setup.cfg .ci/tfx_environment
	@echo "==> TFX into $(TFX_VENV): 4 to 6 minutes, 3.5 GB."
	PYTHON=$(PYTHON) .ci/tfx_environment $(TFX_VENV)
	@touch $@

bench: $(STAMP)
	$(BIN)/tf-mtl bench step --output=runs/bench_step.json

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(TFX_VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist *.egg-info runs
