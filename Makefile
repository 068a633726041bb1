# Two commands on a fresh machine: `make run` and `make test`. Neither does anything twice.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Only from the command line: a variable ROOT of the environment may mean something else.
ROOT :=
RUN_FLAGS :=
ROOT_FLAG = $(if $(ROOT),--root '$(ROOT)')

.DEFAULT_GOAL := help
.PHONY: help run test lint types layers unit bench campaign soak clean

help:
	@echo "make run       set up everything and start janagent in the foreground (ROOT=folder, RUN_FLAGS=flags of serve)"
	@echo "make test      set up everything, then lint, types, layers and tests"
	@echo "make bench     the measured comparisons (builds llama-server once, about 7 minutes)"
	@echo "make campaign  kill -9 at a hundred random moments of downloads (about 6 minutes)"
	@echo "make soak      mixed requests and clients that leave, for half an hour"
	@echo "make clean     remove what was set up"

IS_LINUX := $(filter Linux,$(shell uname))
# Programs that the tests run, each with its Debian package where that has another name.
LINUX_TOOLS := dbus-daemon:dbus gnome-keyring-daemon:gnome-keyring systemd-analyze:systemd desktop-file-validate:desktop-file-utils
LINUX_TOOLS += Xvfb:xvfb trayer pkg-config
TEST_TOOLS := curl git openssl $(if $(IS_LINUX),$(LINUX_TOOLS))
# Files below /usr/lib, in the same way: what the tray draws with, and what PyGObject is built with.
TEST_FILES := $(if $(IS_LINUX),AyatanaAppIndicator3-0.1.typelib:gir1.2-ayatanaappindicator3-0.1)
TEST_FILES += $(if $(IS_LINUX),gobject-introspection-1.0.pc:libgirepository1.0-dev cairo.pc:libcairo2-dev)
# The last PyGObject that is built with these, on old distributions and new ones, for every Python.
TOOLKIT := $(if $(IS_LINUX),'PyGObject<3.51')

# What must be there before pip can work, by Debian's names, and the further programs in $(1) and files in $(2).
# Installed when this may be done without asking anybody (root, apt-get), else named.
define tools
@need=; \
command -v $(PYTHON) >/dev/null 2>&1 && $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || need="$$need python3-venv"; \
command -v c++ >/dev/null 2>&1 || need="$$need g++"; \
for tool in $(1); do command -v $${tool%%:*} >/dev/null 2>&1 || need="$$need $${tool##*:}"; done; \
if [ -n "$(strip $(2))" ] && command -v $(PYTHON) >/dev/null 2>&1; then \
	$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
		|| need="$$need python3-dev"; \
fi; \
for file in $(2); do \
	find /usr/lib /usr/lib64 -name "$${file%%:*}" 2>/dev/null | grep -q . || need="$$need $${file##*:}"; \
done; \
if [ -n "$$need" ]; then \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
		echo "installing Debian packages:$$need"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$need; \
	else \
		echo "missing:$$need (Debian, Ubuntu: sudo apt-get install$$need; macOS: xcode-select --install)"; exit 2; \
	fi; \
fi
@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "janagent needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
endef

$(VENV)/.pip-ready:
	$(call tools)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.run-ready: pyproject.toml | $(VENV)/.pip-ready
	@echo "installing janagent (the first time this builds llama.cpp: about five minutes)"
	@$(BIN)/python -m pip install --quiet --editable '.[starter]'
	@touch $@

$(VENV)/.test-ready: pyproject.toml $(VENV)/.run-ready
	$(call tools,$(TEST_TOOLS),$(TEST_FILES))
	@echo "installing what the tests need"
	@$(BIN)/python -m pip install --quiet --group dev $(TOOLKIT)
	@touch $@

run: $(VENV)/.run-ready
	@$(BIN)/janagent starter --if-no-models $(ROOT_FLAG)
	@exec $(BIN)/janagent serve $(ROOT_FLAG) $(RUN_FLAGS)

lint: $(VENV)/.test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test-ready
	$(BIN)/mypy

layers: $(VENV)/.test-ready
	$(BIN)/lint-imports --no-cache

# Where CI is set, pytest prints the whole of whatever it compared: of two models, hundreds of megabytes.
unit: $(VENV)/.test-ready
	env -u CI -u BUILD_NUMBER $(BIN)/python -m pytest $(if $(CI),--hypothesis-profile=ci)

test: lint types layers unit

bench: $(VENV)/.test-ready
	$(BIN)/python -m tests.benchmarks

campaign: $(VENV)/.test-ready
	$(BIN)/python -m tests.campaigns

soak: $(VENV)/.test-ready
	$(BIN)/python -m tests.campaigns --soak 30

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
