# The commands of the house. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCAL := protos services/common services/cache services/optimizer services/processor services/tracker cli
LOCAL_DISTS := protos service-common cache optimizer processor tracker cli
SOURCES := services cli tests tools benchmarks iac
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup run up down test test-isolated lint format types imports proto proto-check proto-breaking proto-release iac iac-check lock bench-pipeline bench-spend bench-intake bench-generate bench-cache bench-cache-policies bench-cache-compression bench-cache-semantic bench-cache-warming bench-firestore bench-queries bench-fairness bench-migrate bench-capacity chaos bench-outages images k8s ci clean

help: ## list the commands
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## make the virtual environment from the hashed lock

$(VENV)/.installed: requirements.lock $(LOCAL:%=%/pyproject.toml)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=..." if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation $(LOCAL:%=-e %)
	@touch $@

run: setup ## three topics become eight pieces of content each, in out/
	$(BIN)/factory run examples/topics.jsonl

up: setup ## start the four services and, without an endpoint of yours, the embedded model
	$(BIN)/factory up

down: setup ## stop what `make up` started in the background
	$(BIN)/factory down

test: setup ## run the tests
	$(BIN)/python -m pytest -n 2 --dist loadgroup -q

test-isolated: setup ## each service with its own dependencies alone, or SERVICE=cache
	SERVICE=$(SERVICE) $(BIN)/python -m pytest tests/isolated/isolated_service.py -q

lint: setup ## ruff and buf
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/buf lint

format: setup ## put the code in its house form
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

types: setup ## mypy, strict
	$(BIN)/mypy services cli tests benchmarks iac

imports: setup ## who may import whom
	$(BIN)/lint-imports

proto: setup ## generate protos/gen from the contracts
	$(BIN)/python protos/generate.py

proto-check: setup proto-breaking ## fail when protos/gen is not what the contracts say, or they break what was released
	$(BIN)/python protos/generate.py --check

proto-breaking: setup ## fail when a contract lacks or changes what was released
	@$(BIN)/buf breaking --against protos/released.binpb || { \
	    echo "A contract only grows: put back what was released, and add the new beside it." >&2; exit 1; }

proto-release: proto-check ## at a release: note the contracts as the ones that may only grow
	$(BIN)/buf build --exclude-source-info -o protos/released.binpb

iac: setup ## write Firestore's indexes and their page from the declared queries
	$(BIN)/python -m iac.generate

iac-check: setup ## fail when they are not what the queries need; check all Terraform
	$(BIN)/python -m iac.generate --check
	bash iac/check.sh

lock: setup ## resolve requirements.lock anew, with hashes
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
	    --group dev cli/pyproject.toml services/common/pyproject.toml services/cache/pyproject.toml --extra model --extra services --extra semantic \
	    $(LOCAL_DISTS:%=--no-emit-package contentfactory-%) -o requirements.lock

$(VENV)/openai-2.30/.installed: benchmarks/baselines/openai-2.30.lock
	$(PYTHON) -m venv $(VENV)/openai-2.30
	$(VENV)/openai-2.30/bin/python -m pip install -q --no-deps --require-hashes -r $<
	@touch $@

bench-pipeline: setup $(VENV)/openai-2.30/.installed ## 20,000 items through all four services, beside a bare loop and the openai SDK
	$(BIN)/python -m benchmarks.pipeline

bench-intake: setup ## what 100,000 items on their way in cost the processor's memory
	$(BIN)/python -m benchmarks.intake
bench-spend: setup ## a cap against 1,000 calls at once, through ten kills; 100 jobs estimated and run
	$(BIN)/python -m benchmarks.spend

bench-generate: setup ## an interactive piece beside bare echoes, and its first token beside a direct call
	$(BIN)/python -m benchmarks.generate

bench-cache: setup ## the cache's Get and BatchGet beside a bare grpc.aio echo and beside Valkey
	$(BIN)/python -m benchmarks.cache

bench-cache-policies: setup ## what eviction costs at a million entries and what it is worth on real traces
	$(BIN)/python -m benchmarks.cache_policies

bench-cache-compression: setup ## what compression saves on real pieces and what it costs a Get
	$(BIN)/python -m benchmarks.cache_compression

bench-cache-semantic: setup ## what is reused between prompts that say the same, how often wrongly, beside static thresholds
	$(BIN)/python -m benchmarks.cache_semantic

bench-cache-warming: setup ## hits in the first minute after a restart, what a warming lets leave, what advice costs and errs
	$(BIN)/python -m benchmarks.cache_warming

bench-firestore: setup ## what 1,000 fresh items cost in Firestore's operations, by collection
	$(BIN)/python -m benchmarks.firestore

bench-queries: setup ## each declared query beside a scan: time on SQLite, documents read on Firestore's emulator
	$(BIN)/python -m benchmarks.queries

bench-fairness: setup ## who is served how much under backlogs, and how soon urgent work begins
	$(BIN)/python -m benchmarks.fairness

bench-capacity: setup ## endpoints of known capacity: how near the processor keeps them, beside exponential backoff
	$(BIN)/python -m benchmarks.capacity

bench-migrate: setup ## 100,000 documents from SQLite to Firestore's emulator, killed twice
	$(BIN)/python -m benchmarks.migrate

chaos: setup ## 20,000 items on three processors, all services killed and stalled at random; SEED=n, ARGS=--quick
	$(BIN)/python -m benchmarks.chaos $(if $(SEED),--seed $(SEED)) $(ARGS)

bench-outages: setup ## a job without the cache, the optimizer or the tracker beside the healthy factory
	$(BIN)/python -m benchmarks.outages

images: ## build the four images; needs a container engine
	for service in cache optimizer processor tracker; do \
	    docker build -f services/$$service/Dockerfile -t contentfactory/$$service:dev . || exit 1; done

k8s: ## print the manifests of an overlay: OVERLAY=dev or production
	kubectl kustomize k8s/overlays/$(or $(OVERLAY),dev)

ci: ## what CI runs
	bash .ci/run

clean: ## remove what was made here
	rm -rf $(VENV) build out .factory .mypy_cache .ruff_cache .pytest_cache .hypothesis
