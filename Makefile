# `make run`: install, render the embedded data, run the quickstart suite, write the report.
# `make test`: install, lint, check types, test, all but the tests marked heavy. `make test-all`: these too.
# All work on a machine that has only Python 3.11 or 3.12.
BIN := .venv/bin
MARKED := not heavy
# Packages are compiled when they are first imported (.ci/venv), which has to be kept: else each process does it again.
export PYTHONDONTWRITEBYTECODE =

.PHONY: run results test test-all install format clean

install:
	@.ci/venv

run: install
	$(BIN)/lorisbench run quickstart --out results/quickstart

# The commands of results/reference.yaml, results/reference/ and the tables in the READMEs: days, or some of them by name:
# `make results SUITES="quickstart bench"`. MNIST=FOLDER and GPU=cuda for those that need them.
results: install
	$(BIN)/python results/make_results.py $(SUITES) --mnist "$(MNIST)" --gpu "$(GPU)"

# Types are checked beside the tests. A worker for each core, up to eight, of one thread each; the tests of a file are
# all one worker's, with what is trained for them. Files are handed out in the order of tests/conftest.py.
test: install
	@.ci/data
	@.ci/browser
	@.ci/tex
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@.ci/types & types=$$!; \
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder -m "$(MARKED)"; tested=$$?; \
	wait $$types && exit $$tested

test-all: MARKED := heavy or not heavy
test-all: test

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build *.egg-info .mypy_cache .ruff_cache .pytest_cache
