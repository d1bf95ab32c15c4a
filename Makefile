# make demo   install, then generate, distil and compare in a few minutes
# make test   install, then linters, types, the documentation and tests
# make lint   linters and types only
# make docs   build the documentation into site/
#
# TORCH_INDEX  a package index that holds the torch build of your choice. Empty by default:
#              pip then takes torch from its configured index, and on Linux that build may
#              bring CUDA libraries even where there is no GPU.
#              Example: make demo TORCH_INDEX=<address of an index of CPU builds>
# PYTHON       the interpreter that makes .venv (3.11 or newer).

SHELL := /bin/bash
PYTHON ?= $(shell command -v python3.11 || command -v python3)
TORCH_INDEX ?=
BIN := .venv/bin
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -n)
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test lint docs browser clean
.DEFAULT_GOAL := test

demo: $(STAMP)
	@$(BIN)/mcm demo

test: lint docs browser
	@$(BIN)/python -m pytest -q --numprocesses=2 --dist=loadfile

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The tests of the web page need Chromium: CI installs it, elsewhere they are skipped without it.
browser:
ifdef CI
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
		$(AS_ROOT) sh -c 'apt-get update -qq && apt-get install -yqq --no-install-recommends chromium' || \
		echo "cannot install chromium: the tests of the web page will fail" >&2
endif

clean:
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache

$(STAMP): pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it or set PYTHON" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than Python 3.11: set PYTHON to a newer one" >&2; exit 2; }
	@echo "installing into .venv (once; this takes some minutes)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv .venv
	@$(PIP) $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") "$$(grep '^torch==' requirements.lock)"
	@$(PIP) -c requirements.lock -e '.[dev,docs,serve,ui]'
	@touch $@
