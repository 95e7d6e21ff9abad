PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MICROSOFT := $(VENV)/microsoft
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EDITABLE := $(PIP) install --no-deps --no-build-isolation -e .
UV ?= uv

.PHONY: demo test lint unit simulate lock clean

# The main job on the built-in cloud: list, mirror, query, plan, apply, heal.
demo: $(VENV)/.run
	$(BIN)/fleetsync demo --keep

# Everything CI runs.
test: lint unit

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

unit: $(VENV)/.test $(MICROSOFT)/.ready
	$(BIN)/coverage erase
	$(BIN)/python -m pytest -n auto --dist loadfile

# Histories of the whole program on a virtual clock; each seed is one: make simulate SEEDS=50000 START=7
SEEDS ?= 500
START ?= 0
simulate: $(VENV)/.test
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --start $(START) $(MORE)

# The lock files hold hashes and no index address: the machine's own pip settings decide where from.
$(VENV)/.run: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements.lock
	$(EDITABLE)
	touch $@

$(VENV)/.test: requirements-test.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements-test.lock
	$(EDITABLE)
	touch $@

# Microsoft's client for IoT Hub, which tries the simulator. Where it cannot be installed, this and the test say so.
$(MICROSOFT)/.ready: requirements-microsoft.lock | $(VENV)/.test
	if $(BIN)/python tests/microsoft/environment.py; then \
		$(BIN)/python -m venv --clear $(MICROSOFT) && \
		$(MICROSOFT)/bin/python -m pip --disable-pip-version-check --quiet install \
			--only-binary :all: --require-hashes -r requirements-microsoft.lock && \
		touch $@; \
	fi

lock:
	$(UV) pip compile pyproject.toml --group build --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock
	$(UV) pip compile pyproject.toml --group build --group test -c requirements.lock --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements-test.lock
	$(UV) pip compile --group microsoft --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet -o requirements-microsoft.lock

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache demo
