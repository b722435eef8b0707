# Everything a checkout needs: `make hypotheses` and `make test` set up .venv themselves.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

# Small models are fastest on few threads; set it yourself for large ones.
export OMP_NUM_THREADS ?= 2

# Test processes side by side, one thread each.
WORKERS ?= 2

# More arguments for pytest, e.g. make hypotheses ARGS="--causal-model gpt2"
ARGS ?=

.PHONY: hypotheses test check slow calibrate conformance docs help
.DEFAULT_GOAL := help

help:
	@echo "make hypotheses   run the claims in hypotheses/ and write reports/report.html"
	@echo "make test         lint, types and tests of the package"
	@echo "make check        lint and types only"
	@echo "make conformance  try every model class of transformers; write docs/conformance.md"
	@echo "make calibrate    check all error rates in full; write docs/calibration.md"
	@echo "make docs         build the documentation into site/"
	@echo "make slow         all tests, the slow ones included"

hypotheses: $(READY)
	@$(BIN)/python -m pytest hypotheses/ $(ARGS)

test: check
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n $(WORKERS) --causal-report=none $(ARGS)

# A check that fails does not end the run; its line in the table says so.
calibrate: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m calibration -n $(WORKERS) --dist loadfile \
		-p tests.calibration_table --calibration-table docs/calibration.md --causal-report=none $(ARGS)

slow: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --causal-report=none $(ARGS)

# Three quarters of an hour on one core, so no part of `make test`.
conformance: $(READY)
	@$(BIN)/python docs/make_conformance.py $(ARGS)

# Its tools are an extra of their own, since the tests do without. The notice that is switched off
# says that mkdocs-material is maintained until May 2027. No --quiet: it hides warnings from --strict.
docs: $(READY)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[docs]'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)
	@echo "site/index.html"

check: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/pyright

# Without build isolation the build tools, too, have the versions of constraints.txt.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "causaltest needs Python 3.11 or newer; make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $(READY)
