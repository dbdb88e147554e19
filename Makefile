PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# What the tests run beside us; need.py names the package of each program.
PACKAGES := apt busybox-static conmon containerd dmidecode docker.io dpkg e2fsprogs gcc git hwloc-nox libvirt-clients \
	libvirt-daemon-driver-qemu libvirt-daemon-system libvirt-dev lz4 make mmdebstrap mount nodejs numactl pkg-config podman procps prometheus \
	python3-dev python3-fusepy qemu-system-x86 runc systemd tar util-linux
# What libvirt-python is compiled with.
HEADERS := gcc libvirt-dev pkg-config python3-dev

# Where the many small trees of the tests lie: in memory, where a gigabyte is free, which takes a fifth off the time.
ROOM := test "$$(df --output=avail -k /dev/shm 2>/dev/null | tail -1)" -gt 1048576 2>/dev/null && echo /dev/shm || echo $${TMPDIR:-/tmp}

CHECK := tests/laws tests/unit tests/hosts/test_golden.py

LOCK := pip-compile --quiet --no-config --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-trusted-host

# Where it is set, each of a thousand processes of the tests compiles all of its modules again.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: help snapshot check test mutants isolation fuzz bounds quiet lab bench validate matrix truths schema docs lock clean packages

help:  ## show this
	@sed -n 's/^\([a-z]*\):[^#]*## /make \1\t/p' Makefile | expand -t 16

# Everything but the document goes to stderr, so that `make snapshot | jq` works.
snapshot: $(VENV)/agent  ## print what this host is, as JSON
	@$(call binding) >&2 || echo "make: without libvirt-python, virtual machines will be a gap in the snapshot" >&2
	@$(BIN)/agent snapshot --pretty

check: $(VENV)/test  ## lint, types, laws, unit tests and goldens: a minute; `make test` runs them, too, with more examples
	@place=$$(mktemp -d -p "$$($(ROOM))") && trap 'rm -rf "$$place"' EXIT && \
	TMPDIR=$$place $(BIN)/python -m pytest -n $$(($$(nproc) + 1)) --maxprocesses 8 --dist worksteal --hypothesis-profile check $(CHECK) $(ARGS)

test: packages $(VENV)/test  ## run the tests (as root it installs the Debian packages that they need); ARGS="-k name" for some
	@$(call binding) || test "$$STRATASCOPE_STRICT" != 1
	@$(BIN)/python -m pytest $(ARGS)

mutants: $(VENV)/test  ## plant faults one at a time in copies of the tree, and print those that no test finds; ARGS="COUNT SEED"
	@$(BIN)/python -m tests.mutants $(ARGS)

fuzz: $(VENV)/test  ## break ten files at a time of hosts with workloads, and print what breaks a law; ARGS="PASSES --seed SEED"
	@$(BIN)/python -m tests.hosts.fuzz_workloads $(or $(ARGS),10000)

quiet: packages $(VENV)/test  ## run the experiments that want a machine to themselves, on this host and in guests
	@$(call binding) || test "$$STRATASCOPE_STRICT" != 1
	@$(BIN)/python -m pytest -m quiet $(ARGS)

bounds: $(VENV)/test  ## predict random hosts, and print figures above their physical bounds or of the idle; ARGS="HOSTS --seed S"
	@$(BIN)/python -m tests.validation.random_hosts $(ARGS)

isolation: $(VENV)/test  ## break files of one workload at a time, and print what changes of the others; ARGS="COUNT --seed SEED"
	@$(BIN)/python -m tests.hosts.isolation $(or $(ARGS),3000)

lab: packages $(VENV)/test  ## boot an emulated host on this terminal, the agent running in it: SHAPE=two-nodes; without SHAPE, a list
	@$(BIN)/python -m tests.lab $(SHAPE)

bench: packages $(VENV)/test  ## measure the agent beside its peers; ARGS=--guest for containers on control groups v2
	@$(BIN)/python -m tests.bench $(ARGS)

validate: $(VENV)/test  ## print the overhead model beside published measurements
	@$(BIN)/python -m tests.validation

matrix: packages $(VENV)/test  ## score forecasts beside what comes true, for real loads: 90 minutes; ARGS="--runs 4 --windows 30 --seed 1" for less
	@$(call binding) || test "$$STRATASCOPE_STRICT" != 1
	@$(BIN)/python -m tests.validation.matrix $(ARGS)

truths: packages $(VENV)/test  ## make changes of real loads, and print what-if beside what comes true: 9 minutes; ARGS="SEED TRIALS"
	@$(BIN)/python -m tests.validation.what_if_truth $(ARGS)

schema: $(VENV)/agent  ## write exporters/snapshot.schema.json from the types
	@$(BIN)/agent snapshot --schema > $(VENV)/schema.json
	@mv $(VENV)/schema.json exporters/snapshot.schema.json

docs: $(VENV)/agent  ## write docs/metrics.md from the tables of metrics, and the list in docs/findings.md
	@$(BIN)/python -m exporters.metrics.reference > $(VENV)/metrics.md
	@mv $(VENV)/metrics.md docs/metrics.md
	@$(BIN)/python -m exporters.findings < docs/findings.md > $(VENV)/findings.md
	@mv $(VENV)/findings.md docs/findings.md

lock: $(VENV)/agent  ## resolve build.lock, runtime.lock and test.lock anew; with the oldest Python that we support
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and "make: lock with PYTHON=python3.11")'
	@$(PYTHON) -m venv $(VENV)/lock && $(VENV)/lock/bin/pip install --quiet pip-tools
	@$(VENV)/lock/bin/$(LOCK) --upgrade --allow-unsafe --build-deps-for editable --only-build-deps -o build.lock pyproject.toml
	@$(VENV)/lock/bin/$(LOCK) --upgrade -o runtime.lock pyproject.toml
	@$(VENV)/lock/bin/$(LOCK) --upgrade --extra test -c runtime.lock -o test.lock pyproject.toml

clean:  ## remove what was built
	rm -rf $(VENV) build dist *.egg-info .cache .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find agent collectors exporters tests -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/agent: pyproject.toml build.lock runtime.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "make: $(PYTHON) is missing or older than 3.11; name another one, as in: make PYTHON=python3.12" >&2; false; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call install,python3-venv) \
		|| { echo "make: $(PYTHON) cannot make an environment; apt-get install python3-venv, or name another one with PYTHON=" >&2; false; }
	@$(PYTHON) -m venv --clear $(VENV) >&2
	@$(PIP) --require-hashes -r build.lock -r runtime.lock >&2
	@$(PIP) --no-deps --no-build-isolation --editable . >&2
	@touch $@

$(VENV)/test: $(VENV)/agent test.lock
	@$(PIP) --require-hashes -r test.lock
	@touch $@

packages:
	@$(call install,$(PACKAGES)) || { test "$$STRATASCOPE_STRICT" != 1 && echo "make: going on without; what needs them is skipped" >&2; }

# Installs libvirt-python. It compiles against the libvirt of the host and must not be newer; where that has no headers, root can fetch them.
binding = { $(BIN)/python -c 'import libvirt' 2>/dev/null || { \
	if ! pkg-config --exists libvirt 2>/dev/null; then \
		{ command -v libvirtd || command -v virtqemud || { echo "make: no libvirt on this host" >&2; false; }; } >/dev/null && \
		$(call install,$(HEADERS)); \
	fi && { \
	$(PIP) --use-pep517 --no-build-isolation "libvirt-python<=$$(pkg-config --modversion libvirt)" \
		|| { echo "make: libvirt-python does not build; it needs $(HEADERS)" >&2; false; }; }; }; }

# Installs those of the Debian packages $(1) that are missing; fails, saying so, where it cannot.
# hwloc brings what hwloc-nox brings, and they exclude each other.
install = { missing=; for name in $(1); do \
	case $$name in hwloc-nox) dpkg-query -W -f '$${Status}' hwloc 2>/dev/null | grep -q ' installed' && continue;; esac; \
	dpkg-query -W -f '$${Status}' $$name 2>/dev/null | grep -q ' installed' || missing="$$missing $$name"; done; \
	test -z "$$missing" || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			export DEBIAN_FRONTEND=noninteractive; \
			{ apt-get update -qq && apt-get install -qq --yes --no-install-recommends $$missing; } </dev/null >&2; \
		else echo "make: missing Debian packages:$$missing (run as root to have them installed)" >&2; false; fi; }; }
