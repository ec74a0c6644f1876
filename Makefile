# `make run`: install, render the embedded data, run the quickstart suite, write the report.
# `make test`: install, lint, type-check, test. Both work on a machine that has only Python 3.11 or 3.12.
BIN := .venv/bin

.PHONY: run test install format clean

install:
	@.ci/venv

run: install
	$(BIN)/lorisbench run quickstart --out results/quickstart

test: install
	@.ci/data
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@.ci/types
	$(BIN)/python -m pytest

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
