# SPDX-License-Identifier: Apache-2.0
# Everything starts here; `make` alone lists the targets. See docs/testing.md.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.PHONY: help setup packages lock format lint unit kernel-test test vm demo bench \
	install uninstall clean

# Debian's packages, by what they are for: the node itself; the VMs; the C checks; certificates
# that tests make.
RUNTIME_PACKAGES := python3-venv python3-bpfcc
VM_PACKAGES := qemu-system-x86 mmdebstrap e2fsprogs kmod git debian-archive-keyring
BUILD_PACKAGES := gcc libc6-dev clang
TEST_PACKAGES := openssl

PYTHON := .venv/bin/python
PIP_TOOLS := 7.6.2
LOCK := tests/requirements.lock
CODE := enforcer controlplane tests
SOURCES := $(wildcard $(CODE))

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16

# --- what the other targets need --------------------------------------------

# Installs nothing, and needs no network, where everything is there already.
define install_packages
	missing=$$(for name in $(1); do \
		dpkg-query -W -f='$${db:Status-Status}\n' $$name 2>/dev/null \
			| grep -qx installed || echo $$name; done); \
	if [ -n "$$missing" ]; then \
		echo "setup: apt installs" $$missing; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -q; apt-get install -q -y --no-install-recommends $$missing; \
	fi
endef

packages:
	@{ $(call install_packages,$(RUNTIME_PACKAGES) $(VM_PACKAGES) $(BUILD_PACKAGES) \
		$(TEST_PACKAGES)); } >&2

# Made anew when the lock or Python changes, by one make at a time. It sees the
# distribution's packages, because bcc is one of them.
setup: packages ## install what building and testing need: apt's packages and .venv
	@{ mkdir -p build; exec 9>build/setup.lock; flock 9; \
	wanted="$$(sha256sum <$(LOCK)) $$(/usr/bin/python3 -V)"; \
	if [ "$$(cat .venv/lock-hash 2>/dev/null)" != "$$wanted" ]; then \
		echo "setup: Python packages of $(LOCK) into .venv"; \
		rm -rf .venv; \
		/usr/bin/python3 -m venv --system-site-packages .venv; \
		$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps \
			--require-hashes --requirement $(LOCK); \
		echo "$$wanted" >.venv/lock-hash; \
	fi; } >&2

lock: packages ## pin what the requirements.in files ask for, with hashes
	@{ scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	/usr/bin/python3 -m venv "$$scratch"; \
	"$$scratch/bin/pip" install --quiet pip-tools==$(PIP_TOOLS); \
	for folder in controlplane tests; do \
		(cd $$folder; "$$scratch/bin/pip-compile" --quiet --generate-hashes --strip-extras \
			--allow-unsafe --no-header --no-emit-index-url --no-emit-find-links \
			--no-emit-trusted-host --output-file requirements.lock requirements.in); \
	done; } >&2

# --- tests ------------------------------------------------------------------

format: setup ## put the Python code into shape
	@$(PYTHON) -m ruff check --fix $(SOURCES); $(PYTHON) -m ruff format $(SOURCES)

lint: setup ## ruff and mypy
	$(PYTHON) -m ruff check $(SOURCES)
	$(PYTHON) -m ruff format --check $(SOURCES)
	$(PYTHON) -m mypy --strict $(SOURCES)

unit: setup ## tests that need no VM
	$(PYTHON) -m pytest $(wildcard tests/unit tests/api)

kernel-test: setup ## tests in VMs: every kernel, both ways of attaching
	$(PYTHON) -m pytest tests/kernel/test_matrix.py

test: lint ## everything that CI runs
	$(PYTHON) -m pytest $(wildcard tests/unit tests/api) tests/kernel/test_matrix.py

# --- a VM, the demo, the figures --------------------------------------------

# KERNEL=6.1 SHARE=dir OUT=dir ICOUNT=1 LSM=off TIMEOUT=seconds CMD='...'
# `value`, so that make leaves the dollar signs of CMD to the VM's shell.
# make itself ends with 2 for any failure: the exact status is on stderr, and
# the exit status of python -m tests.kernel.harness.vm.
vm: export LICTOR_VM_COMMAND = $(value CMD)
vm: setup ## run CMD as root in a VM: make vm KERNEL=6.1 CMD='uname -a'
	@$(PYTHON) -m tests.kernel.harness.vm $(if $(KERNEL),--kernel '$(KERNEL)') \
		$(if $(SHARE),--share '$(SHARE)') $(if $(OUT),--out '$(OUT)') \
		$(if $(filter-out 0,$(ICOUNT)),--icount) $(if $(filter off,$(LSM)),--no-lsm) \
		$(if $(TIMEOUT),--timeout '$(TIMEOUT)')

demo: setup ## replay the incident in a VM; build/demo/report.json
	@$(PYTHON) -m tests.replay.demo

bench: setup ## count what each hook costs, in instructions
	@$(PYTHON) -m tests.bench.run

# --- a node -----------------------------------------------------------------

install: ## install Lictor into /opt/lictor (as root; DESTDIR is heeded)
	@$(if $(DESTDIR),,{ $(call install_packages,$(RUNTIME_PACKAGES)); } >&2;) \
		DESTDIR='$(DESTDIR)' ./enforcer/install.sh

uninstall: ## remove what `make install` installed
	@DESTDIR='$(DESTDIR)' ./enforcer/install.sh uninstall

clean: ## remove what was built here; the VMs' cache stays
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(SOURCES) -name __pycache__ -prune -exec rm -rf {} +
