# `make demo`: set-up, quantize, build, simulate the example. `make test`, `make lint`: what CI runs.
# `make fuzz`: files and programs spoilt for SECONDS each, a soak of CYCLES; what was found is kept in build/fuzz.
# `make bench`: full-size models, cycles and utilization; some minutes. `make docs`: docs/ as a site in build/site.
# `make prove`: formal proofs of the emitted units; some minutes (docs/verification.md).
# Everything lives in .venv and build/ of this checkout; `make clean` removes the latter.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= $(shell nproc 2>/dev/null || echo 1)
export HWGEN_CACHE ?= $(CURDIR)/build/cache

.PHONY: demo bench test test-all fuzz prove lint docs setup clean
.DEFAULT_GOAL := demo

# Tests one by one to the worker that is free, the long ones first (tests/conftest.py).
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxschedchunk 1

# Not in here: what Yosys compiles of itself on a machine's first call, two minutes of processor time; it is kept in the
# user's cache directory (~/.cache/YoWASP, or YOWASP_CACHE_DIR).
# The stamp is older than pyproject.toml when dependencies may have changed.
$(VENV)/.stamp: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[sim,synth,dev]'
	touch $@

setup: $(VENV)/.stamp

demo: setup
	$(BIN)/python examples/mnist_m3vit/demo.py

bench: setup
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m bench.run $(ARGS)

test: setup
	$(PYTEST) -m 'not slow' $(ARGS)

test-all: setup
	$(PYTEST) $(ARGS)

SECONDS ?= 300
CYCLES ?= 10000000
SEED ?= 0

# atheris watches the readers that are written in Python; the others get spoilt files only.
fuzz: setup
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) --seed $(SEED)
	for kind in config model quantize safetensors npz torch index manifest; do \
	  $(BIN)/python -m tests.fuzz.bytes $$kind --seconds $$(($(SECONDS) / 8)) --seed $$(($(SEED) + 1)) || exit 1; done
	$(BIN)/python -m tests.fuzz.rtl --seconds $(SECONDS) --seed $(SEED)
	$(BIN)/python -m tests.fuzz.soak --cycles $(CYCLES) --seed $(SEED)

prove: setup
	$(PYTEST) -m prove tests/formal $(ARGS)

lint: setup docs
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf build
