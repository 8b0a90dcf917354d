# Magpie's two commands are `make run` and `make test`. Both set themselves up; run again, neither re-installs.
PYTHON ?= python3
PORT ?= 8765
ARGS ?= -n 2 --dist loadfile
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: help run bot test lint bench clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/'

run: $(VENV)/.installed ## Try Magpie in the browser: the sandbox and the real bot (PORT=8765, CLIP_MODEL=name or directory)
	@$(BIN)/python -m sandbox --port $(PORT)

bot: $(VENV)/.installed ## Start the bot for real; settings come from the environment or .env
	@$(BIN)/python -m bot

test: $(VENV)/.installed-test ## Run the whole test suite, two files at a time (ARGS="-n 2 --dist loadfile"; or "tests/store -k erase")
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-test ## ruff and mypy, as strict as they come
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

bench: $(VENV)/.installed-bench ## Measure how fast everything is (BENCH="encoding search" for some of it)
	$(BIN)/python -m benchmarks $(BENCH)

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis artifacts *.egg-info build clipcore/index/*.so

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Magpie needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11")'
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is incomplete here; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml setup.py constraints.txt clipcore/index/_scan.c
	@echo "Installing what Magpie needs (PyTorch is the large part) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need ..."
	@$(PIP) --editable '.[test]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-test
	@echo "Installing what the benchmarks compare with ..."
	@$(PIP) --editable '.[bench]'
	@touch $@
