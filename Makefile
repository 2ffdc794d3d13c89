# Every target builds the environment it needs in .venv; a fresh machine needs Python 3.11, git, make and a C compiler.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check
RUN := .venv/.run-installed
DEV := .venv/.dev-installed

.DEFAULT_GOAL := help
.PHONY: help demo test check format conventions toon soul toon-report soul-report decoder-report bench cards ablations golden-check train-smoke clean

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# PyTorch first and on its own: a later package can then only find it, never replace it.
.venv/.torch-installed: constraints.txt
	@echo "building .venv with $$($(PYTHON) --version): PyTorch and all else come from the network, which takes some minutes"
	@$(PYTHON) -m venv .venv
	@$(PIP) $$(grep '^torch==' constraints.txt)
	@touch $@

$(RUN): .venv/.torch-installed pyproject.toml
	@$(PIP) --constraint constraints.txt --editable .
	@touch $@

$(DEV): $(RUN)
	@$(PIP) --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(RUN)  ## Make a talking video from the shipped portrait, speech and prompt
	@$(BIN)/enliven demo --output demo

test: $(DEV)  ## Run every test
	@$(BIN)/python -m pytest -q $(ARGS)

check: $(DEV)  ## Format check, lint, import contracts, types
	@$(BIN)/ruff format --check --quiet . || { echo "run: make format"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/mypy

format: $(DEV)  ## Format the code and mend what the linter can mend
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

conventions: $(DEV)  ## Check file sizes, names, links and the public surface
	@$(BIN)/python -m pytest -q tests/test_conventions.py tests/test_imports.py

toon: $(RUN)  ## Train the toon model again, from drawing its world to its backbone (hours; needs espeak-ng)
	@$(BIN)/enliven train examples/toon.toml

soul: $(RUN)  ## Train the Soul toon model again (hours; needs espeak-ng)
	@$(BIN)/enliven train examples/soul.toml

toon-report: $(DEV)  ## Measure the toon model against exact truth, into benchmarks/
	@$(BIN)/python -m enliven.bench.toon --output benchmarks $(ARGS)

# ARGS are the first command's. What the second one makes stays in runs/drift, so a repeat is quick.
soul-report: $(DEV)  ## The same for the Soul toon model, and how four minutes of it drift (half an hour)
	@$(BIN)/python -m enliven.bench.toon --output benchmarks --model soul-toon $(ARGS)
	@$(BIN)/python -m enliven.bench.codebook --output benchmarks --model soul-toon --seconds 240

decoder-report: $(DEV)  ## Measure what the efficient decoder saves and what it loses, into benchmarks/
	@$(BIN)/python -m enliven.bench.decoders --output benchmarks $(ARGS)

bench: $(DEV)  ## Measure the speed and memory of the toon model, into benchmarks/speed/
	@$(BIN)/python -m enliven.bench.toon --output benchmarks/speed --only performance $(ARGS)

cards: $(DEV)  ## Write the model cards beside the weights again, from weights, recipes and reports
	@$(BIN)/python -m enliven.bench.cards

ablations: $(DEV)  ## Take parts of both papers away and see what they did, into docs/ablations/ (hours; needs espeak-ng)
	@$(BIN)/python -m enliven.train.ablations
	@$(BIN)/python -m enliven.bench.ablations

# Without the recorded numbers these tests skip; here that is an error.
golden-check: $(DEV)  ## Compare with numbers recorded from the published code, in the folder ENLIVEN_GOLDEN
	@test -d "$${ENLIVEN_GOLDEN:-../shared/golden/longcat}" || { echo "set ENLIVEN_GOLDEN to their folder"; exit 1; }
	@$(BIN)/python -m pytest -q $$(grep -rl golden_files tests --include='test_*.py')

train-smoke: $(DEV)  ## Every kind of training takes steps, is killed and goes on (minutes)
	@$(BIN)/python -m enliven.train.smoke $(ARGS)

clean:  ## Remove the environment and everything generated
	rm -rf .venv demo runs dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
