# Every target sets up .venv by itself when needed.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: search test check docs bench clean

search: .venv/installed  ## PPO searches for the student that best distils a teacher, on the embedded data
	$(BIN)/akd search $(ARGS)

test: .venv/installed
	$(BIN)/pytest $(ARGS)

check: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: .venv/installed  ## the pages of docs/, with the reference, into site/: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: .venv/installed  ## writes benchmarks/results.json; `make bench ARGS=ledger` runs one part
	$(BIN)/python -m benchmarks $(ARGS)

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, but this is " + sys.version) if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
