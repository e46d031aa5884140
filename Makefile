# `make demo` and `make test` set up what they need, each from a fresh clone.
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
# Processes that run tests at the same time.
JOBS ?= 2

.PHONY: demo wheels check test test-all full fuzz fences emulator clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(PY) -m tvm_shufflenet.build shufflenet-v1-1x-g3 --target arm
	$(PY) -m tvm_shufflenet.build shufflenet-v1-0.5x-g3 --target native --weights trained
	$(PY) -m tvm_shufflenet.classify build/shufflenet-v1-0.5x-g3-native.so examples/pictures/parachute.jpg
	$(PY) -m tvm_shufflenet.compare

# Both distributions, in dist/.  setuptools would take along what an earlier one left in its folder.
wheels: $(VENV)/installed
	rm -rf dist build/lib build/bdist.* runtime/build
	$(PY) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist . ./runtime

# Style and types; the same in CI.
check: $(VENV)/installed-check
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

test: $(VENV)/installed-test emulator
	$(PY) -m pytest -q -n $(JOBS) --dist loadscope -m "not slow"

test-all: $(VENV)/installed-test emulator
	$(PY) -m pytest -q -n $(JOBS) --dist loadscope

# What the slow tests take samples of: the networks of ShuffleNet's main tables at every size.  Hours.
full: $(VENV)/installed-test
	$(PY) -m pytest -q -n $(JOBS) --full

# Random networks against PyTorch: `make fuzz N=1000`; in the emulator: `make fuzz N=100 TARGET=cortex-a72`.
N ?= 1000
TARGET ?= native
fuzz: $(VENV)/installed-test
	$(PY) -m tests.fuzz --n $(N) --target $(TARGET)

# Every network of the list at four sizes with each array between inaccessible pages.
fences: $(VENV)/installed-test
	$(PY) -m tests.fences

# Without the emulator its tests are skipped, and say so; TSN_REQUIRE_EMULATOR=1 makes that an error.
emulator: $(VENV)/installed-test
	$(PY) -m tests.emulator install || test -z "$$TSN_REQUIRE_EMULATOR"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	    { echo "error: Python 3.10 to 3.13 is needed, $(PYTHON) is $$($(PYTHON) --version 2>&1):" \
	      "name another with make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	    { rm -rf $(VENV); echo "error: no virtual environment could be made;" \
	      "on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/installed-test: pyproject.toml | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@ $(VENV)/installed

$(VENV)/installed-check: pyproject.toml | $(VENV)/bin/python
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[check]'
	touch $@ $(VENV)/installed-test $(VENV)/installed

clean:
	rm -rf build dist $(VENV) .emulator *.egg-info runtime/build runtime/*.egg-info
