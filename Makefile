# make rehearse and make test are all a newcomer needs; the rest is for people who change saleops.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SALE ?= examples/midnight-drop/sale.yaml
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
BENCH_STAMP := $(VENV)/.installed-bench
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help rehearse serve setup services rocketmq fmt lint types layers check test unit integration e2e bench crash crash-real fuzz-cloud soak golden reclaim rendered wheel clean

help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("saleops needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml | $(BIN)/python
	@echo "installing saleops and what it needs into $(VENV) (once; a minute or two)" >&2
	$(PIP) -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	@echo "installing the tools of development into $(VENV) (once; a minute or two)" >&2
	$(PIP) "pip>=25.1"
	$(PIP) --group dev
	@touch $@

$(BENCH_STAMP): $(DEV_STAMP)
	$(PIP) --group bench
	@touch $@

rehearse: $(STAMP) ## Rehearse the example sale on this machine; exit 0 only if its ledger balances
	$(BIN)/saleops rehearse $(SALE)

reclaim: $(DEV_STAMP) ## Rehearse a sale while the spot node under an order worker is taken back; 0 errors or it fails
	$(BIN)/pytest -q tests/e2e/test_spot_reclaim.py

serve: $(STAMP) ## Run the checkout services for the example sale
	$(BIN)/saleops serve --sale $(SALE) --open-now

setup: $(DEV_STAMP) ## Everything development needs, in .venv
	$(BIN)/pre-commit install >/dev/null 2>&1 || true

services: ## Install the real engines that tests run against: Redis, MariaDB, RocketMQ (into .services)
	tests/engines/install

rocketmq: $(DEV_STAMP) services ## Run a RocketMQ in the foreground: name server :9876, gRPC :18081; empty at each start
	$(BIN)/python tests/rocketmq_server.py

fmt: $(DEV_STAMP) ## Format
	$(BIN)/ruff format src services tests
	$(BIN)/ruff check --fix src services tests

lint: $(DEV_STAMP)
	$(BIN)/ruff format --check src services tests
	$(BIN)/ruff check src services tests

types: $(DEV_STAMP)
	$(BIN)/mypy

layers: $(DEV_STAMP)
	$(BIN)/lint-imports

check: lint types layers ## Formatting, lint, types, layers

test: $(DEV_STAMP) ## All tests; starts the servers they need
	$(BIN)/pytest -n 2 --dist loadgroup

unit: $(DEV_STAMP) ## The tests that need no server
	$(BIN)/pytest tests/unit

integration: $(DEV_STAMP)
	$(BIN)/pytest tests/contract tests/integration

e2e: $(DEV_STAMP)
	$(BIN)/pytest tests/e2e

bench: $(BENCH_STAMP) ## Measure beside the twins and write docs/benchmarks.md (about ten minutes)
	$(BIN)/python tests/bench/run.py

crash: $(DEV_STAMP) ## Simulated sales struck at their points for CRASH_MINUTES (1; 30: about every pair); SEED, POINT and ACTION replay one, MUTANTS=1
	$(BIN)/python tests/crash/strike.py --minutes $(or $(CRASH_MINUTES),1) $(if $(SEED),--seed $(SEED)) \
	  $(if $(POINT),--point $(POINT)) $(if $(ACTION),--action $(ACTION)) $(if $(MUTANTS),--mutants $(MUTANTS))

crash-real: $(DEV_STAMP) ## Real workers killed at every point, on real engines
	CRASH_POINTS=all $(BIN)/pytest tests/integration/test_crash_points.py -s

fuzz-cloud: $(DEV_STAMP) ## Many mutated requests at the local cloud; FUZZ=200000 for more
	cd tests && ../$(BIN)/python cloud_fuzz.py $(or $(FUZZ),50000)

soak: $(DEV_STAMP) services ## Ten minutes of load while everything is killed in turn; writes docs/soak.md (about fifteen minutes)
	$(BIN)/python tests/soak/run.py

golden: $(DEV_STAMP) ## Write the golden files of `saleops render k8s` anew; read the diff
	$(BIN)/python tests/k8s_golden.py

rendered: $(STAMP) ## Write the help pages, the OpenAPI document and the pictures anew
	$(BIN)/python -m saleops.cli.render
	$(BIN)/python -m saleops.services.openapi > docs/api/openapi.json
	$(BIN)/python docs/pictures/make.py help mistakes

wheel: $(DEV_STAMP) ## Build the wheel into dist/
	$(BIN)/python -m build --quiet --wheel

clean: ## Remove what was built, and .venv
	rm -rf $(VENV) build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
