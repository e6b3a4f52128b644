PYTHON ?= python3
PYTEST_WORKERS ?= 2
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help quickstart test benchmark lint format clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: .venv/.installed ## run the synthetic example: minutes on two cores, no data needed
	$(BIN)/python -m experiments.run --config=configs/quickstart.py

test: lint ## lint, then run the fast tests (PYTEST_WORKERS=2 at a time)
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile -m "not slow"

benchmark: .venv/.installed-benchmarks ## time the hot paths beside PyTorch: half an hour, idle machine
	for name in population editor edit startup baselines forward; do $(BIN)/python -m benchmarks.$$name || exit; done

lint: .venv/.installed-tests ## check style and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: .venv/.installed-tests ## repair style and format where that is automatic
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove the environment and the caches, not the runs
	rm -rf .venv .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps stand for a finished install, which only a change of pyproject.toml repeats.
.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e .
	touch $@

.venv/.installed-tests: .venv/.installed
	$(BIN)/python -m pip install --quiet -e '.[tests]'
	touch $@

.venv/.installed-benchmarks: .venv/.installed
	$(BIN)/python -m pip install --quiet -e '.[benchmarks]'
	touch $@
