PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
MICROSOFT := $(VENV)/microsoft
BENCH := $(VENV)/bench
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
EDITABLE := $(PIP) install --no-deps --no-build-isolation -e .
# What an installation from a package does, too; where Python may not write bytecode, each start would do it again.
COMPILE := $(BIN)/python -m compileall -q fleetsync migrations
UV ?= uv

.PHONY: demo test lint unit simulate mutations bench lock clean

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

# What a cycle costs beside a script written by hand, as ratios; nothing of it is part of the tests.
DEVICES ?= 100000
ROUNDS ?= 3
bench: $(VENV)/.test $(BENCH)/.ready
	$(BIN)/python -m benchmarks --devices $(DEVICES) --rounds $(ROUNDS) $(MORE)

# Deliberate breaks of each promise, in copies of the code: the simulation has to notice. MORE="P1 --note"
mutations: $(VENV)/.test
	$(BIN)/python -m tests.simulation.mutations $(MORE)

# The lock files hold hashes and no index address: the machine's own pip settings decide where from.
$(VENV)/.run: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements.lock
	$(EDITABLE)
	$(COMPILE)
	touch $@

$(VENV)/.test: requirements-test.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements-test.lock
	$(EDITABLE)
	$(COMPILE)
	touch $@

# Microsoft's client for IoT Hub, which tries the simulator. Where it cannot be installed, this and the test say so.
$(MICROSOFT)/.ready: requirements-microsoft.lock | $(VENV)/.test
	if $(BIN)/python tests/microsoft/environment.py; then \
		$(BIN)/python -m venv --clear $(MICROSOFT) && \
		$(MICROSOFT)/bin/python -m pip --disable-pip-version-check --quiet install \
			--only-binary :all: --require-hashes -r requirements-microsoft.lock && \
		touch $@; \
	fi

# dlt, which the benchmarks run beside ours; where it cannot be installed they go without it and say so.
$(BENCH)/.ready: requirements-bench.lock | $(VENV)/.test
	$(BIN)/python -m venv --clear $(BENCH)
	-$(BENCH)/bin/python -m pip --disable-pip-version-check --quiet install \
		--only-binary :all: --require-hashes -r requirements-bench.lock && touch $@

lock:
	$(UV) pip compile pyproject.toml --group build --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock
	$(UV) pip compile pyproject.toml --group build --group test -c requirements.lock --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet -o requirements-test.lock
	$(UV) pip compile --group microsoft --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet -o requirements-microsoft.lock
	$(UV) pip compile --group bench --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --quiet -o requirements-bench.lock

clean:
	rm -rf $(VENV) .coverage* .mypy_cache .ruff_cache demo
