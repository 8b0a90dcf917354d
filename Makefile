# Magpie's two commands are `make run` and `make test`. Both set themselves up; run again, neither re-installs.
PYTHON ?= python3
PORT ?= 8765
FUZZ ?= -max_total_time=60
ARGS ?= -n 2 --dist loadfile
SOAK ?= --rounds 200
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --no-deps
LOCKED := $(PIP) --require-hashes --only-binary :all: --requirement requirements
LOCKS := run cuda test openvino bench audit fuzz

.PHONY: help run bot test lint bench soak fuzz openvino audit lock commands screens clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/'

run: $(VENV)/.installed ## Try Magpie in the browser: the sandbox and the real bot (PORT=8765, CLIP_MODEL=name or directory)
	@$(BIN)/python -m sandbox --port $(PORT)

bot: $(VENV)/.installed ## Start the bot for real; settings come from the environment or .env
	@$(BIN)/python -m bot

test: $(VENV)/.installed-test ## Run the whole test suite, two files at a time (ARGS="-n 2 --dist loadfile"; or "tests/store -k erase")
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-test ## ruff, mypy and bandit, as strict as they come
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -m bandit --quiet --recursive --configfile pyproject.toml .

bench: $(VENV)/.installed-bench ## Measure how fast everything is (BENCH="encoding search" for some of it)
	$(BIN)/python -m benchmarks $(BENCH)

soak: $(VENV)/.installed-test ## Kill the bot again and again while people post and delete (SOAK="--rounds 200 --seed 1")
	$(BIN)/python -m pytest -s tests/e2e/test_soak.py --timeout 0 $(SOAK)

fuzz: $(VENV)/.installed-fuzz ## Decode mutated images until one breaks something (FUZZ="-max_total_time=600", libFuzzer's options)
	$(BIN)/python -m tests.clipcore.fuzz_images $(FUZZ)

openvino: $(VENV)/.installed-openvino ## Install OpenVINO, which encodes images faster on a CPU

audit: $(VENV)/.installed-audit ## Look for known vulnerabilities in what is installed; needs PyPI's advisories over the network
	@$(BIN)/python -m pip_audit --strict --progress-spinner off --disable-pip --require-hashes $(LOCKS:%=-r requirements/%.txt) \
		|| { echo "Either a package above is vulnerable, or PyPI's advisories cannot be read from here and nothing was audited." >&2; exit 1; }

lock: $(VENV)/.installed-audit ## Renew requirements/ after a change of pyproject.toml (LOCK=--upgrade for newer versions)
	@$(BIN)/python -m tools.lock $(LOCK)

commands: $(VENV)/.installed ## Write docs/commands.md anew after a change of a command
	@$(BIN)/python -m tools.commands_page

screens: $(VENV)/.installed-test ## Take the pictures of docs/screens.md anew, in Chromium
	$(BIN)/python -m pytest tests/e2e/test_surfaces.py
	@mkdir -p docs/screens && cp artifacts/screens/*.webp docs/screens/

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis artifacts *.egg-info build clipcore/index/*.so

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Magpie needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11")'
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is incomplete here; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml setup.py $(patsubst %,requirements/%.txt,torch-cpu run cuda) clipcore/index/_scan.c
	@echo "Installing what Magpie needs (PyTorch is the large part) ..."
	@# PyTorch's CPU build, where pip is configured to find it. PyPI has none for Linux; its CUDA build asks for NVIDIA's libraries.
	@$(LOCKED)/torch-cpu.txt 2>/dev/null || true
	@$(LOCKED)/run.txt
	@if $(BIN)/python -m pip check | grep -q '^torch '; then $(LOCKED)/cuda.txt; fi
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-%: requirements/%.txt $(VENV)/.installed
	@echo "Installing requirements/$*.txt ..."
	@$(LOCKED)/$*.txt
	@touch $@

$(addprefix $(VENV)/.installed-,bench audit fuzz): $(VENV)/.installed-test
$(VENV)/.installed-bench: $(VENV)/.installed-openvino
