# Python to make .venv with: the first on the PATH that is 3.11 or newer.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$python; break; }; done)
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-strip-extras --no-annotate --custom-compile-command 'make lock'

# Each process of the tests would compile all of them anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test check bench soak chaos pictures docs lock renderer

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.run ## Make .venv with the service and its embedded PostgreSQL

run: $(VENV)/.run ## Start the service for development; the settings are in .env.example
	@exec $(BIN)/timer-trio serve --dev

DOMAIN_TESTS := $(wildcard tests/unit/test_domain_*.py)

# Nothing may run beside what is held against a clock. Watched for coverage is the domain alone, and
# by its own tests: all others would take twice as long.
test: $(VENV)/.dev ## Run the tests
	@$(BIN)/python -m tests.debian
	@$(BIN)/python -m pytest -m timed tests/acceptance tests/chaos
	@$(BIN)/python -m pytest --numprocesses=auto $(DOMAIN_TESTS) \
		--cov=timer_trio.domain --cov-branch --cov-fail-under=100
	@$(BIN)/python -m pytest --numprocesses=auto tests/unit $(addprefix --ignore=,$(DOMAIN_TESTS))
	@$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal -m 'not timed' --ignore=tests/unit

check: $(VENV)/.dev ## Run what reads the code: format, lint, types, the order of imports
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@grep -rlE --include='*.py' 'async |await ' timer_trio tests benchmarks \
		| xargs $(BIN)/flake8 --select=$(ASYNC_RULES)
	@$(BIN)/mypy
	@$(BIN)/lint-imports

# Those of flake8-async that ruff does not have; it takes half a second a file, so only async ones.
ASYNC_RULES := ASYNC101,ASYNC102,ASYNC103,ASYNC104,ASYNC106,ASYNC111,ASYNC112,ASYNC113,ASYNC118,ASYNC119,ASYNC120,ASYNC121,ASYNC122,ASYNC123

bench: $(VENV)/.run ## Measure lateness and cost in 15 minutes; ARGS=--quick in two, ARGS=steady just that
	@$(BIN)/python -m benchmarks $(ARGS)

# How many histories of each kind, of several replicas thirty times as many; the seed of the first.
HISTORIES ?= 100
SEED ?= $(shell date +%s)

# Random clients: of each kind so many on the API alone, and so many seconds of them on a service.
CLIENTS ?= 5000
CLIENTS_SECONDS ?= 120

# Callbacks to receivers of which each hangs up at a stage of its own, a hundred to each.
CALLBACKS ?= 100000

soak: $(VENV)/.dev ## Search HISTORIES=100 random histories of each kind, from SEED on, for a broken promise
	@echo 'SEED=$(SEED) HISTORIES=$(HISTORIES)'
	@TESTS_WHOLE=1 SIMULATION_SEED=$(SEED) SIMULATION_HISTORIES=$(HISTORIES) \
		$(BIN)/python -m pytest -q -x --numprocesses=auto --dist=worksteal --timeout=0 \
		tests/simulation/test_histories.py tests/simulation/test_verb_histories.py \
		tests/simulation/test_changes.py tests/simulation/test_schedules.py \
		tests/simulation/test_flows.py tests/simulation/test_every_call_of_verbs_fails.py $(ARGS)
	@TESTS_WHOLE=1 $(BIN)/python -m pytest -q -x --numprocesses=auto --dist=worksteal --timeout=0 \
		-m 'not timed' tests/unit/test_calendar_cron.py tests/simulation tests/contract \
		tests/integration/test_database_states.py tests/integration/test_api_schemathesis.py \
		tests/integration/test_api_rate_limits.py tests/integration/test_api_keys.py \
		tests/acceptance/test_console_browser.py
	@TESTS_WHOLE=1 $(BIN)/python -m pytest -q -x --timeout=0 -m soak tests/acceptance tests/integration
	@TESTS_WHOLE=1 $(BIN)/python -m pytest -q -x --timeout=0 tests/acceptance/test_turns.py
	@FUZZ_SEED=$(SEED) FUZZ_COUNT=$(CLIENTS) FUZZ_SECONDS=$(CLIENTS_SECONDS) \
		$(BIN)/python -m pytest -q -x --timeout=0 tests/integration/test_hostile_scripts.py \
		tests/acceptance/test_hostile_clients.py::test_random_clients_harm_nothing
	@RESETS_SEED=$(SEED) RESETS_CALLBACKS=$(CALLBACKS) \
		$(BIN)/python -m pytest -q -x --timeout=0 tests/integration/test_transport_resets.py

chaos: $(VENV)/.dev ## Kill, stop and freeze replicas, their database and its standby in 20 minutes; ARGS='kill stop' just those
	@$(BIN)/python -m tests.chaos $(ARGS)

pictures: $(VENV)/.dev ## Take the pictures of the console in docs/pictures anew
	@$(BIN)/python -m tests.pictures

# The pages lie as they do here, README above them, so that links hold in both places.
docs: $(VENV)/.docs ## Build README and docs/ as a site, build/docs/site; a link that leads nowhere is an error
	@rm -rf build/docs && mkdir -p build/docs/pages
	@cp -R README.md CHANGELOG.md CONTRIBUTING.md docs build/docs/pages
	@mv build/docs/pages/docs/site/mkdocs.yml build/docs
	@$(BIN)/zensical build --strict --config-file build/docs/mkdocs.yml

lock: ## Choose the versions anew and write requirements/*.txt; needs uv
	$(LOCK) --upgrade --extra embedded --extra tracing --extra dev pyproject.toml -o requirements/dev.txt
	$(LOCK) --extra embedded -c requirements/dev.txt pyproject.toml -o requirements/embedded.txt
	$(LOCK) --extra tracing -c requirements/dev.txt pyproject.toml -o requirements/runtime.txt
	$(LOCK) -c requirements/dev.txt requirements/build.in -o requirements/build.txt
	$(LOCK) -c requirements/dev.txt requirements/docs.in -o requirements/docs.txt

renderer: $(VENV)/.dev ## Take what draws /docs from npm anew, in VERSION=1.76.0
	@$(BIN)/python -m tests.renderer $(VERSION)

# Hashes are checked for every package, so that nothing but what was locked gets in.
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed: install it, or name it with PYTHON=...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module: install it (Debian: apt install python3-venv)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python requirements/embedded.txt requirements/build.txt pyproject.toml
	@echo 'Installing into $(VENV) ...'
	@$(PIP_INSTALL) --require-hashes -r requirements/embedded.txt -r requirements/build.txt
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run requirements/dev.txt
	@$(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.docs: $(VENV)/.python requirements/docs.txt
	@$(PIP_INSTALL) --require-hashes -r requirements/docs.txt
	@touch $@
