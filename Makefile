# make train   a movement classifier from nothing to its figures, on data made here
# make test    what a change must pass; test-all: the tests of minutes as well; lint: no tests
# make soak    kills a training fifty times and an archive ten times, and compares their ends with
#              those of undisturbed ones; then fuzz
# make fuzz    damages 1,000 files of each kind and reads them
# make demo    the page of docs/demo with its models, served on 127.0.0.1 (needs node); test-demo: in
#              a real browser (Chromium)
# make notebooks   runs the notebooks of docs/ and keeps their outputs
# make .venv   the environment alone (EXTRAS=test,cuda12 for a GPU); clean: remove what was made
#
# Needs git, make and python3 >= 3.11 with venv, nothing else. PYTHON=python3.12 names another one.

PYTHON ?= python3
EXTRAS ?= test
BIN := .venv/bin
comma := ,
STAMP := .venv/installed-$(subst $(comma),-,$(EXTRAS))
JOBS ?= 2
PHONE ?= phone
RUNTIME := build/demo_runtime

# One thread a test process: JOBS of them share the cores. Compiled programs are kept between runs.
TEST_ENV := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 NPROC=1 MPLBACKEND=agg \
  JAX_PLATFORMS=$${JAX_PLATFORMS:-cpu} JAX_COMPILATION_CACHE_DIR=$(CURDIR)/.cache/jax \
  JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.2

.PHONY: train test test-all lint soak fuzz demo test-demo notebooks clean .venv

train: $(STAMP)
	$(BIN)/python -m launch.train --config configs/classifier.py

test: lint
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal

test-all: lint
	$(TEST_ENV) $(BIN)/python -m pytest -n $(JOBS) --dist worksteal -m ""

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(STAMP)
	@[ ! -e runs/soak ] || { echo "error: runs/soak is there already: move it away" >&2; exit 2; }
	PYTHONPATH=$(CURDIR) $(BIN)/python tools/soak_training.py --out runs/soak/trainings
	PYTHONPATH=$(CURDIR) $(BIN)/python tools/soak_archive.py --out runs/soak/archives
	@$(MAKE) --no-print-directory fuzz

demo: $(RUNTIME)/fetched
	@$(MAKE) --no-print-directory .venv EXTRAS=test,onnx
	PYTHONPATH=$(CURDIR) $(BIN)/python tools/demo.py --checkpoint $(PHONE) --runtime $(RUNTIME)

test-demo: $(RUNTIME)/fetched
	@$(MAKE) --no-print-directory .venv EXTRAS=test,onnx
	$(BIN)/python -c 'from bodyjax.export import fetched; fetched.jax2onnx().__enter__()'
	$(TEST_ENV) $(BIN)/python -m pytest -m "" -rs tests/demo

$(RUNTIME)/fetched: docs/demo/package.json docs/demo/package-lock.json
	@command -v npm >/dev/null || \
	  { echo "error: the page needs node and npm (on Debian: apt install npm)" >&2; exit 2; }
	mkdir -p $(RUNTIME)
	cp docs/demo/package.json docs/demo/package-lock.json $(RUNTIME)
	npm ci --prefix $(RUNTIME) --ignore-scripts --no-audit --no-fund
	@touch $@

fuzz: $(STAMP)
	PYTHONPATH=$(CURDIR) $(BIN)/python tools/fuzz.py --count 1000

notebooks: $(STAMP)
	$(TEST_ENV) PYTHONPATH=$(CURDIR) $(BIN)/jupyter-execute --inplace docs/notebooks/*.ipynb

.venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: bodyjax needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "error: this Python has no venv (on Debian: apt install python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

clean:
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
