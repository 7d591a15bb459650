# All that a person does with this checkout. It needs Python 3.10 or newer, make and a package registry.

# ENGINE=wasmer runs everything under Python 3.10, in a virtualenv of its own: wasmer exists for no other Python.
ENGINE ?= wasmtime
ifeq ($(ENGINE),wasmer)
VENV ?= .venv-wasmer
PYTHONS := $(or $(PYTHON),python3.10 $(wildcard $(HOME)/.pyenv/versions/3.10.*/bin/python))
FITS := sys.version_info[:2] == (3, 10)
WANTED := Python 3.10
else
VENV ?= .venv
# The virtualenv is made with PYTHON=..., else with the first of these that can make one.
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11 python3.10)
FITS := sys.version_info >= (3, 10)
WANTED := Python 3.10 or newer
endif
# ROOM=abi is the fast loop: the tests of tests/abi in one process, without those that are slow or try many examples.
WORKERS ?= $(if $(ROOM),0,2)
CHOSEN = $(if $(ROOM),-m "not hypothesis and not slow" tests/$(ROOM)) $(PYTEST)
PIP_INSTALL := $(VENV)/bin/python -m pip install --quiet --require-hashes
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/runtime.stamp ## start the server, send it photos as a sidecar would, print what came back (ENGINE=wasmer)
	@GUESTHOUSE_ENGINE=$(ENGINE) $(VENV)/bin/python demo/demo.py

.PHONY: demo-dapr
demo-dapr: $(VENV)/runtime.stamp ## the same behind a real daprd, which is built once (needs Go)
	@daprd=$$($(VENV)/bin/python tests/daprd/build.py) && $(VENV)/bin/python demo/demo_dapr.py "$$daprd"

.PHONY: demo-actors
demo-actors: $(VENV)/runtime.stamp ## actors in Rust, C and Go behind a real daprd, placement and scheduler, built once (needs Go)
	@programs=$$($(VENV)/bin/python tests/daprd/build.py daprd placement scheduler) \
		&& PYTHONPATH=. $(VENV)/bin/python demo/demo_actors.py $$programs

.PHONY: test
test: lint unit ## lint, types, import contracts and all tests (PYTEST="-k name" for some)

.PHONY: lint
lint: $(VENV)/dev.stamp ## lint, types and import contracts alone
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

.PHONY: unit
unit: $(VENV)/dev.stamp ## the tests alone (ROOM=abi: the fast ones of tests/abi; PYTEST=tests/abi: all of them)
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal $(CHOSEN)

# Of some rooms only: those whose tests run in one process and open no port. Coverage sees nothing of other processes,
# and tests take up to 1.4 times as long under it. How guests are called is tested by guests: those of the compatibility
# kit, and components.
.PHONY: coverage
coverage: $(VENV)/dev.stamp ## branch coverage of guesthouse_abi, manifest/ and inference/ by their own tests, with a floor
	$(VENV)/bin/python -m pytest -n $(WORKERS) -m "not slow" -k "not process and not wasmer" --cov --cov-fail-under=93 \
		tests/abi tests/manifest tests/inference tests/compat tests/guests/test_guests_components.py $(PYTEST)

# Every property test with FUZZ times its usual number of examples, drawn at random. The allocators end the process when
# something has written where it may not (tests/fuzz/test_fuzz_allocator.py shows that they do).
FUZZ ?= 30
.PHONY: fuzz
fuzz: $(VENV)/dev.stamp ## the property tests with many more examples (FUZZ=30 times as many)
	GUESTHOUSE_FUZZ=$(FUZZ) PYTHONMALLOC=debug LD_PRELOAD=libc_malloc_debug.so.0 MALLOC_CHECK_=3 MALLOC_PERTURB_=165 \
		$(VENV)/bin/python -m pytest -n $(WORKERS) -m hypothesis -o faulthandler_timeout=$$((600 * $(FUZZ))) $(PYTEST)

.PHONY: test-dapr
test-dapr: $(VENV)/dev.stamp ## the tests behind a real daprd, which is built once (needs Go, Redis, Mosquitto)
	$(VENV)/bin/python tests/daprd/build.py daprd placement scheduler
	$(VENV)/bin/python -m pytest tests/dapr_real $(PYTEST)

.PHONY: check-actors
check-actors: $(VENV)/dev.stamp ## actors that send each other money for three minutes, while hosts, sidecars and placement are killed
	$(VENV)/bin/python tests/daprd/build.py daprd placement scheduler
	$(VENV)/bin/python -m tests.dapr_real.actors_checker $(ARGS)

.PHONY: test-web
test-web: $(VENV)/dev.stamp ## the page in a real browser, behind real sidecars (needs Go once, and chromium)
	$(VENV)/bin/python tests/daprd/build.py
	$(VENV)/bin/python -m pytest tests/browser $(PYTEST)

.PHONY: test-conformance
test-conformance: $(VENV)/runtime.stamp ## Dapr's own conformance tests against the pluggable component (needs Go)
	cd tests/conformance && PATH=$$PATH:/usr/local/go/bin GUESTHOUSE=$(abspath $(VENV))/bin/guesthouse GOTOOLCHAIN=local CGO_ENABLED=0 \
		go test -mod=readonly -trimpath -count=1 -timeout 2m ./...

.PHONY: test-compat
test-compat: $(VENV)/dev.stamp ## the rules of docs/abi.md on every engine and isolation of tests/compat/columns.toml
	$(VENV)/bin/python -m tests.compat --all $(if $(GUESTHOUSE_WASMER),--python $(GUESTHOUSE_WASMER))

.PHONY: test-compose
test-compose: ## docker-compose.yml brought up for real (as root; tests/compose/install.sh installs what it needs)
	python3 -m tests.compose.run

.PHONY: bench
bench: $(VENV)/dev.stamp ## the benchmarks, and their results page
	$(VENV)/bin/python -m bench

.PHONY: soak
soak: $(VENV)/dev.stamp ## an hour of events with faults, and a picture of the memory (SOAK="--scale 0.01" for less)
	$(VENV)/bin/python -m bench.soak $(SOAK)

.PHONY: docs
docs: $(VENV)/dev.stamp ## write the generated pages of docs/ again
	$(VENV)/bin/python docs/generate.py

.PHONY: protos
protos: $(VENV)/dev.stamp ## generate the stubs of Dapr's component interface again
	$(VENV)/bin/python app/guesthouse/dapr/proto/generate.py

.PHONY: guests
guests: ## build the guests from source (guests/install-toolchain.sh installs the compilers on Debian)
	python3 guests/build.py --lock

.PHONY: lock
lock: VENV = .venv-lock
lock: ## resolve the dependencies again (UPGRADE=1 for the newest); needs the registry
	@$(MAKE_VENV)
	@$(VENV)/bin/python -m pip install --quiet uv
	$(LOCK) pyproject.toml --extra otel --extra signatures --extra wasmer --group dev --output-file requirements/dev.txt
	$(LOCK) pyproject.toml --extra otel --extra signatures --extra wasmer --constraints requirements/dev.txt --output-file requirements/runtime.txt
	$(LOCK) --group build --constraints requirements/dev.txt --output-file requirements/build.txt
	@! grep -nE '://|^-' requirements/*.txt || { echo "a lock file names a registry"; exit 1; }

# One lock file for all Python versions, by environment markers. It must not name a registry.
LOCK = $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header $(if $(UPGRADE),--upgrade)

# Nothing is published.
.PHONY: release
release: $(VENV)/dev.stamp ## sdist, wheel and bill of materials in dist/, installed and tried (see CONTRIBUTING.md)
	$(VENV)/bin/python deploy/release.py

.PHONY: release-check
release-check: $(VENV)/dev.stamp ## whether a release could be made of this tree; leaves nothing behind
	$(VENV)/bin/python deploy/release.py --check

.PHONY: clean
clean: ## remove what make has made here (the virtualenv, caches)
	rm -rf .venv .venv-lock .coverage build dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find app abi tests -name __pycache__ -prune -exec rm -rf {} +

# A stamp is made again when a lock file has changed; else nothing is installed.
$(VENV)/runtime.stamp: requirements/runtime.txt requirements/build.txt pyproject.toml
	@$(MAKE_VENV)
	@echo "installing what Guesthouse needs into $(VENV) (once)"
	@$(PIP_INSTALL) -r requirements/runtime.txt -r requirements/build.txt
	@$(VENV)/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/runtime.stamp
	@echo "installing the developers' tools into $(VENV) (once)"
	@$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

define MAKE_VENV
$(VENV)/bin/python -c 'import pip' 2>/dev/null && exit; \
for python in $(PYTHONS); do \
	$$python -c 'import sys, venv, ensurepip; sys.exit(not ($(FITS)))' 2>/dev/null || continue; \
	echo "making $(VENV) with $$($$python --version)"; \
	$$python -m venv --clear $(VENV); exit; \
done; \
echo "error: no $(WANTED) with venv here (tried: $(strip $(PYTHONS)))" >&2; \
echo "       install one (Debian: apt install python3 python3-venv), or say which: make PYTHON=/path/to/python3" >&2; \
exit 1
endef
