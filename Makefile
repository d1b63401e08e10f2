# SPDX-License-Identifier: Apache-2.0
# `make demo` and `make test` are each enough on a fresh Debian 12+ or Ubuntu 24.04+ machine that
# has git, make and python3: missing system packages come by apt, the rest lives in .venv here.

PYTHON ?= python3
VENV_PYTHON = .venv/bin/python

PREFIX = /usr/local
SBINDIR = /sbin
INSTALLATION = PYTHON='$(PYTHON)' PREFIX='$(PREFIX)' SBINDIR='$(SBINDIR)' DESTDIR='$(DESTDIR)' EXTRAS='$(EXTRAS)' .ci/installation

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-desktop test-bare lint venv crash fuzz soak install uninstall bench bench-cache bench-metadata bench-credits bench-fsspec bench-cluster bench-packages clean

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

demo: ## A sample library served, mounted, copied and verified: make demo [MOUNTPOINT=DIR]
	@PYTHON='$(PYTHON)' .ci/system-packages demo
	@PYTHON='$(PYTHON)' .ci/python-environment emulator
	@exec $(VENV_PYTHON) -m backlotfs demo $(MOUNTPOINT)

test: ## What has to hold at each change: format, lint, types, tests: make test [ARGS=--fast]
	@PYTHON='$(PYTHON)' .ci/system-packages test
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,dev
	@exec $(VENV_PYTHON) -m tests $(ARGS)

test-long: ## The tests that take long, coverage and its gates, after make test
	@PYTHON='$(PYTHON)' .ci/system-packages long
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,dev,ecosystem
	@exec $(VENV_PYTHON) -m tests --long

test-desktop: ## What needs a screen, a server or players, on a mount, after make test: make test-desktop [ARGS="-k samba"]
	@PYTHON='$(PYTHON)' .ci/system-packages desktop
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,dev,desktop
	@exec $(VENV_PYTHON) -m tests --desktop $(if $(ARGS),-- $(ARGS))

test-bare: ## Both commands above on a minimal Debian, as root: make test-bare RELEASE=trixie [ARGS=--fast]
	@.ci/bare-system '$(RELEASE)'

lint: venv ## Format, lint and types alone
	@exec $(VENV_PYTHON) -m tests --lint $(ARGS)

venv: ## The virtual environment with everything a contributor needs, in .venv
	@PYTHON='$(PYTHON)' .ci/system-packages venv
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,dev

.PHONY: manual
manual: ## Man pages, completions and the reference of docs/, in build/manual: man -M build/manual/man backlotfs
	@PYTHON='$(PYTHON)' .ci/system-packages venv
	@PYTHON='$(PYTHON)' .ci/python-environment emulator
	@rm -rf build/manual && exec $(VENV_PYTHON) -m backlotfs.manual build/manual

.PHONY: screenshot
screenshot: ## The pictures of docs/images anew: the tutorial and status --watch, run for real; when sizes are known
	@PYTHON='$(PYTHON)' .ci/system-packages test
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,dev
	@$(VENV_PYTHON) -m tests.first_contact
	@$(VENV_PYTHON) -m tests.live_picture
	@exec $(VENV_PYTHON) -m tests.sizes_picture

.PHONY: docs
docs: ## The site of docs/, in build/site: tutorial, how-to, reference, explanation
	@PYTHON='$(PYTHON)' .ci/system-packages venv
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,docs
	@exec .ci/documentation

.PHONY: dist
dist: ## Wheel, sdist, SBOM and release notes of what is committed, in dist/: the same bytes each time
	@PYTHON='$(PYTHON)' .ci/system-packages venv
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,dist
	@exec .ci/distribution

.PHONY: deb
deb: ## A Debian package of what is committed, in dist/: the same bytes each time
	@PYTHON='$(PYTHON)' .ci/system-packages deb
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,dist
	@exec .ci/debian-package

install: ## For all users, mount(8) and systemd: make install [PREFIX=/usr/local] [DESTDIR=] [EXTRAS=emulator,keyring]
	@PYTHON='$(PYTHON)' .ci/system-packages install
	@PYTHON='$(PYTHON)' .ci/python-environment emulator
	@$(INSTALLATION) install

uninstall: ## Take away what make install put there; profiles, secrets and caches stay
	@$(INSTALLATION) uninstall

soak: ## Readers of three hosts, of which one goes wrong all the time and one is hostile: make soak [ARGS=--minutes=2]
	@PYTHON='$(PYTHON)' .ci/system-packages test
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,dev
	@exec $(VENV_PYTHON) -m tests.soak $(ARGS)

fuzz: ## Feed each parser of the network's answers with nonsense: make fuzz [ARGS=--seconds=600]
	@PYTHON='$(PYTHON)' .ci/system-packages test
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,dev
	@exec $(VENV_PYTHON) -m tests.fuzz $(ARGS)

crash: ## Kill mounts under load, 100 times: right bytes and sound caches after: make crash [ARGS=--kills=9]
	@PYTHON='$(PYTHON)' .ci/system-packages test
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,dev
	@exec $(VENV_PYTHON) -m tests.crash $(ARGS)

bench: bench-packages ## Reading beside rclone, near and far, as root: make bench [CASES="local-cp …"] [ROUNDS=3]
	@exec $(VENV_PYTHON) -m benchmarks.read_engine $(if $(CASES),--cases $(CASES)) $(if $(ROUNDS),--rounds $(ROUNDS)) $(ARGS)

bench-cache: bench-packages ## A large disk cache opened, and files in it read beside the disk, as root: make bench-cache
	@$(VENV_PYTHON) -m benchmarks.cache_open
	@exec $(VENV_PYTHON) -m benchmarks.cached_files $(ARGS)

bench-metadata: bench-packages ## A hundred thousand files beside rclone, as root: make bench-metadata [ARGS=--rounds=3]
	@exec $(VENV_PYTHON) -m benchmarks.metadata $(ARGS)

bench-credits: bench-packages ## API calls of mounts and of a day of work, copies under a limit (25 min): make bench-credits [ARGS=--without-cdn]
	@$(VENV_PYTHON) -m benchmarks.credits $(ARGS)
	@exec $(VENV_PYTHON) -m benchmarks.first_day

bench-fsspec: bench-packages ## A thousand parts of files by fsspec, beside its HTTPFileSystem, as root: make bench-fsspec [ARGS=--rounds=9]
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,bench,fsspec
	@exec $(VENV_PYTHON) -m benchmarks.fsspec_ranges $(ARGS)

bench-cluster: bench-packages ## An export on a cluster beside one machine's, and computed for 500 TB, as root: make bench-cluster [ARGS="--only simulation"]
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,bench,cluster
	@exec $(VENV_PYTHON) -m benchmarks.cluster_export $(ARGS)

bench-packages:
	@PYTHON='$(PYTHON)' .ci/system-packages bench
	@PYTHON='$(PYTHON)' .ci/python-environment emulator,bench

clean: ## Remove everything that was made here
	rm -rf .venv .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
