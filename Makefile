# Every target brings what it needs: a fresh clone can start with any of them.
.DEFAULT_GOAL := help
.PHONY: help install check test test-browser slow matrix wheel fix demo docs space clean
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
INSTALLED := .venv/installed
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3
# Answers what accelerate would otherwise ask or warn about; a GPU is still used where there is one.
LAUNCH := $(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no
DEMO := runs/demo
DEMO_CONFIG := configs/movielens-100k.yaml

help: ## Print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## Make .venv and install seqrec there, with the versions of constraints.txt

$(INSTALLED): pyproject.toml constraints.txt
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  for python in $(PYTHONS); do \
	    if $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      echo "Making .venv with $$python"; exec $$python -m venv --clear .venv; \
	    fi; \
	  done; \
	  echo "seqrec needs Python 3.11 or newer with its venv module, but none of these is one: $(strip $(PYTHONS))." >&2; \
	  echo "Install one (Debian, Ubuntu: apt install python3 python3-venv), or name it: make install PYTHON=/path/to/python" >&2; \
	  exit 1; }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev,plots,tracking,baselines,image,audio,space]'
	@touch $@

check: $(INSTALLED) ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: check ## Run check and the tests
	$(BIN)/python -m pytest

test-browser: $(INSTALLED) ## Try the demo's page in Chromium, which is installed by apt where it is missing
	@command -v chromium > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } || { \
	  echo "The browser tests need Chromium: apt install chromium" >&2; exit 1; }
	$(BIN)/python -m pytest -m browser

slow: $(INSTALLED) ## Run the tests that take minutes, a line for each: kills, random cases, processes, wheel, matrix
	$(BIN)/python -m pytest -m slow -v --no-header

matrix: $(INSTALLED) ## Run the default tests with the lowest and the newest versions; resolve for every Python
	$(BIN)/python -m pytest tests/test_matrix.py -m slow -v --no-header

wheel: $(INSTALLED) ## Build dist/*.whl: `pip install` of it is enough anywhere, no clone needed
	$(BIN)/uv build

fix: $(INSTALLED) ## Format the code and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: $(DEMO)/model/config.json ## Train, compare and recommend on MovieLens-100K
	$(BIN)/python scripts/evaluate.py $(DEMO)
	$(BIN)/python scripts/recommend.py $(DEMO)/model --history "Toy Story (1995)" "Alien (1979)" --k 10

docs: $(INSTALLED) ## Build the documentation in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

space: $(DEMO)/model/config.json ## Serve the demo's page, http://127.0.0.1:7860
	MODEL_ID=$(DEMO)/model $(BIN)/python space/app.py

$(DEMO)/model/config.json: $(DEMO_CONFIG) scripts/train.py $(shell find seqrec -name '*.py') | $(INSTALLED)
	rm -rf $(DEMO) # of an older demo, or of one that was interrupted
	$(LAUNCH) scripts/train.py $(DEMO_CONFIG) --output_dir $(DEMO)

clean: ## Remove .venv, the demo's run and the tools' caches
	rm -rf .venv .matrix site $(DEMO) build dist .mypy_cache .pytest_cache .ruff_cache
	find seqrec scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
