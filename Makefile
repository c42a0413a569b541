# What people type. `make help` lists it. Needs Python 3.11 or later; everything else is set up in .venv.

PYTHON ?= python3
PORT ?= 8001
FUZZ_EXAMPLES ?= 600
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help run test lint format fuzz drill bench demo clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(INSTALLED) ## Serve on http://localhost:8001 with everything embedded (Ctrl-C stops it)
	@exec $(BIN)/python -m app.cli serve --port $(PORT)

test: $(INSTALLED) lint ## Run every test
	@$(BIN)/python -m pytest -n 3

lint: $(INSTALLED) ## Check style, types and what is known to be unsafe
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/bandit -q -r app -c pyproject.toml
	@$(BIN)/mypy

format: $(INSTALLED) ## Put the code into the one form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

demo: $(INSTALLED) ## Watch a hundred simulated browsers get notifications, offline
	@exec $(BIN)/python -m app.cli demo

fuzz: $(INSTALLED) ## Try at random what input can break, five minutes; FUZZ_EXAMPLES says how much
	@seed="$(or $(FUZZ_SEED),$$(od -An -N3 -tu4 /dev/urandom | tr -d ' '))"; \
	echo "The same again: make fuzz FUZZ_SEED=$$seed FUZZ_EXAMPLES=$(FUZZ_EXAMPLES)"; \
	FUZZ_SEED=$$seed FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) \
		$(BIN)/python -m pytest -n 2 -q -m hypothesis --hypothesis-seed="$$seed"

drill: $(INSTALLED) ## Kill it, stop its database, set its clocks wrong: nobody may be lost (16 minutes)
	@$(BIN)/python -m pytest tests/drill -q

bench: $(INSTALLED) ## Measure deliveries beside peers in the same run, nine minutes (loopback only)
	@exec $(BIN)/python -W ignore -m tests.benchmark

clean: ## Remove the virtual environment and caches; .data/ stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(INSTALLED): requirements.txt docker/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed; this is %d.%d. Try: make PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "Setting up $(VENV) (about a minute, once) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check -q -r requirements.txt
	@touch $@
