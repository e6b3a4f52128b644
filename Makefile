PYTHON ?= python3
PYTEST_WORKERS ?= 2
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-long docs benchmark lint bandit audit format clean lock test-oldest test-newest

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z -]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

quickstart: .venv/.installed ## run the synthetic example: minutes on two cores, no data needed
	$(BIN)/python -m experiments.run --config=configs/quickstart.py

test: lint ## lint, then run the fast tests (PYTEST_WORKERS=2 at a time)
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow"

test-long: .venv/.installed-tests ## run the tests that `make test` and .ci/run leave out
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder -m long

benchmark: .venv/.installed-benchmarks ## time the hot paths beside PyTorch: half an hour, idle machine
	for name in population editor edit startup baselines forward compact; do $(BIN)/python -m benchmarks.$$name || exit; done

docs: .venv/.installed-docs ## build the site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

lint: bandit ## check style, format, types and what bandit looks for
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bandit: .venv/.installed-tests ## look for pickles, shells, eval and the like; skips and reasons are in pyproject.toml
	$(BIN)/bandit --quiet -c pyproject.toml -r metanet experiments configs benchmarks examples docs

audit: ## ask PyPI for known vulnerabilities of the packages in requirements.lock
	$(PYTHON) -m venv .venv-audit && .venv-audit/bin/python -m pip install --quiet pip-audit
	.venv-audit/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock

format: .venv/.installed-tests ## repair style and format where that is automatic
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove the environment and the caches, not the runs
	rm -rf .venv .venv-* .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: ## write requirements.lock anew: the newest of everything that pyproject.toml allows
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/python -m pip install --quiet uv
	.venv-lock/bin/uv pip compile --quiet --generate-hashes --python-version 3.11 --upgrade \
		--extra tests --extra docs --output-file requirements.lock pyproject.toml

# Both run the fast tests in an environment of their own; see docs/log.md for what was found.
test-oldest test-newest: test-%: ## the fast tests with the oldest, or newest, allowed packages
	$(PYTHON) -m venv --clear .venv-$* && .venv-$*/bin/python -m pip install --quiet uv
	.venv-$*/bin/uv pip install --quiet --python .venv-$*/bin/python -e '.[tests]' \
		--resolution $(if $(filter oldest,$*),lowest-direct,highest)
	.venv-$*/bin/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile --no-loadscope-reorder -m "not slow"

# The stamps stand for a finished install, which only a change of pyproject.toml repeats. The locked
# one, of CI, has the versions of requirements.lock with their hashes.
.venv/.installed-locked: pyproject.toml requirements.lock
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	touch .venv/.installed .venv/.installed-tests .venv/.installed-docs $@

.venv/.installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e .
	touch $@

.venv/.installed-tests: .venv/.installed
	$(BIN)/python -m pip install --quiet -e '.[tests]'
	touch $@

.venv/.installed-docs: .venv/.installed
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	touch $@

.venv/.installed-benchmarks: .venv/.installed
	$(BIN)/python -m pip install --quiet -e '.[benchmarks]'
	touch $@
