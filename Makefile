# `make help` lists what there is. Everything runs in .venv, which the first target makes.

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test gpu check format bench dist clean

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

# The stamp is as new as what decides its content.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0]) if sys.version_info < (3, 10) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: .venv/installed  ## train, evaluate and use a digit recogniser, in 5 to 15 minutes, from nothing
	$(BIN)/asr run digits
	@echo
	@audio=$$(ls data/digits-synthetic/audio/test-strings/* 2>/dev/null | head -n 1); \
	echo "asr transcribe $$audio --model runs/digits/model"; \
	$(BIN)/asr transcribe "$$audio" --model runs/digits/model

test: .venv/installed  ## the whole test suite
	$(BIN)/python -m pytest -n $(JOBS)

check: .venv/installed  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py

format: .venv/installed  ## bring the code into form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/installed  ## speed against references, in this machine's own ratios
	$(BIN)/python tools/bench.py features
	$(BIN)/python tools/bench.py recurrent
	$(BIN)/python tools/bench.py training
	$(BIN)/python tools/bench.py decoding
	$(BIN)/python tools/bench.py scoring

gpu:  ## tests and benchmarks for a GPU, with the Python and PyTorch that are there: gpu-report.md
	$(PYTHON) tools/gpu.py $(if $(WHEELS),--wheels $(WHEELS))

dist: .venv/installed  ## wheel and sdist, in dist/
	$(BIN)/python -m build --outdir dist .

clean:  ## remove what was built; data/ and runs/ stay
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
