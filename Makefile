# Goldsmith: one command each. `make` alone lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo uno up down test chaos lint bench migrate clean

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
# Another build of torch: make setup TORCH_PIP_ARGS="--index-url <the index of your CUDA version>"
TORCH_PIP_ARGS ?=
BIN := .venv/bin
STAMP := .venv/ready

help:  ## List the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(STAMP)  ## Set up .venv with everything (about 3 GB); shows progress and its time

$(STAMP): pyproject.toml constraints.txt
	@PYTHON="$(PYTHON)" TORCH_PIP_ARGS="$(TORCH_PIP_ARGS)" bash scripts/setup.sh

demo: setup  ## The whole main job on a recorded workshop, live
	@$(BIN)/goldsmith demo

uno: setup  ## All of UNO on a planted log: rules, clusters, experts, critics, a router (expected: half an hour or so on 2 free cores)
	@$(BIN)/goldsmith uno demo

up: setup  ## Start everything in the background
	@$(BIN)/goldsmith up --detach

down:  ## Stop everything; no process is left
	@if [ -x $(BIN)/goldsmith ]; then $(BIN)/goldsmith down; else echo "nothing is set up"; fi

test: setup  ## Run the whole test suite
	@$(BIN)/python -m pytest -rs -n 3 --dist loadfile --no-loadscope-reorder

chaos: setup  ## Eleven minutes of kill -9 and worse under load, then counted (SEED=… repeats one)
	@$(BIN)/python -m tests.chaos.run $(if $(SEED),--seed $(SEED))

lint: setup  ## ruff, mypy, import contracts, one migration head, container files
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@test "$$($(BIN)/alembic heads | wc -l)" = 1 || { echo "there must be one Alembic head"; exit 1; }
	@$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

bench: setup  ## Measure speed beside named peers, in one run of up to ten minutes (ONLY="submit status": these lines)
	@$(BIN)/python -c 'import procrastinate, taskiq_redis' 2>/dev/null || $(BIN)/pip install -q -c constraints.txt -e '.[bench]'
	@$(BIN)/python -m bench.queue $(if $(ONLY),--only $(ONLY))

migrate: setup  ## Bring the database to this version's schema
	@$(BIN)/goldsmith migrate

clean:  ## Remove .venv and caches (the state folder stays)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
