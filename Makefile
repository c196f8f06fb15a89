# What a newcomer types. `make help` lists it.
#
#   SPEED=1     demo: 1 is real time, 0 as fast as the machine can
#   PROFILE=release|dev   demo, bench: which build; CI takes dev, which the tests have built already
#   BENCH='--streams 16'  bench: its options

SPEED ?= 1
PROFILE ?= release
CARGO ?= cargo
PYTHON ?= python3

# The dev build is the tests' (--tests: with the features that their dependencies switch on), or all would be compiled twice.
ifeq ($(PROFILE),dev)
BUILT := target/debug
WHAT := --tests
else
BUILT := target/$(PROFILE)
endif

.PHONY: help setup build demo test fuzz deny bench peers corpus train eval
.DEFAULT_GOAL := help

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## system packages where missing, and the pinned ONNX Runtime into .deps/
	@scripts/setup.sh

build: setup ## the program, as target/release/earwitness
	$(CARGO) build --locked --profile $(PROFILE) $(WHAT)

demo: build ## the whole pipeline on the bundled scene (SPEED=0: as fast as it goes)
	$(BUILT)/earwitness demo --speed $(SPEED)

test: ## set-up, format, lints, all tests, documentation, known vulnerabilities
	@scripts/setup.sh --tests
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps
	@$(MAKE) --no-print-directory deny

# The same properties are proptests of `make test`.
fuzz: ## the parsers of what strangers send, a minute each (FUZZ='300 wyoming': longer, one of them)
	@scripts/fuzz.sh $(FUZZ)

deny: ## licences and known vulnerabilities of the dependencies, where cargo-deny is installed
	@if $(CARGO) deny --version >/dev/null 2>&1; then \
		$(CARGO) deny --locked check; \
	else \
		echo "cargo-deny is not installed: licences and vulnerabilities were not checked"; \
	fi

bench: build ## streams that this machine keeps up with, latency, cost, features, as target/bench.json too
	$(BUILT)/earwitness bench --save target/bench.json $(BENCH)
	@if [ -e .venv/ready ]; then $(MAKE) --no-print-directory peers; else \
		$(BUILT)/earwitness bench --features; \
		echo "make peers compares all that with other programs and libraries, and installs those into .venv"; \
	fi

peers: build .venv/ready ## the daemon and its features beside others on one core, as target/bench_*.json too
	.venv/bin/python -m models.recipes.bench_peers $(BUILT)/earwitness
	.venv/bin/python -m models.recipes.bench_features $(BUILT)/earwitness

# The recipes' Python packages, apart from everything else. A stamp, so that they are installed once.
.venv/ready: models/recipes/requirements.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

corpus:
	@test -n "$(CORPUS)" || { echo "expected a corpus: make $(firstword $(MAKECMDGOALS)) CORPUS=folder-with-manifest.csv" >&2; exit 2; }

train: corpus .venv/ready ## the default model pack from scratch, resumes: CORPUS=folder
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r models/recipes/spoof/installed.txt
	.venv/bin/python -m models.recipes.all --corpus "$(CORPUS)"

eval: corpus .venv/ready ## equal error rates of the pack on the corpus's dev split: CORPUS=folder
	.venv/bin/python -m models.recipes.evaluate --corpus "$(CORPUS)"
