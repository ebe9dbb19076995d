# One-word commands for a developer's whole day; `make demo` and `make test` need nothing but Python 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SETUP := $(VENV)/.installed
RIVALS := .venv-rivals
IN_TENSORFLOW := tests/resnet_spec_tensorflow $(patsubst %,tests/oracles/test_%.py,keras keras_files tutorial)
export TF_CPP_MIN_LOG_LEVEL := 3

.PHONY: demo test lint format oracles networks published fingerprints golden calibration mutations training random benchmark schema modules clean

demo: $(SETUP)
	$(BIN)/resnet-build resnet50 --backend torch
	$(BIN)/resnet-build resnet50 --backend tensorflow
	$(BIN)/resnet-spec parity resnet50

# Two runs, since two frameworks in one process can crash each other; two files at once, since much of it waits.
test: $(SETUP)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests $(IN_TENSORFLOW:%=--ignore %)
	$(BIN)/python -m pytest -n 2 --dist loadfile $(IN_TENSORFLOW)

lint: $(SETUP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(SETUP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Every network beside its original, from where it last stopped; ARGUMENTS="timm/* --again" chooses.
oracles: $(SETUP)
	$(BIN)/python -m tests.oracles $(ARGUMENTS)

networks: $(SETUP)
	$(BIN)/python -m tests.oracles.table

fingerprints: $(SETUP)
	$(BIN)/python -c "import json, resnet_spec as r; print(json.dumps({n: r.load(n).to_graph().fingerprint for n in r.available()}, indent=2))" > tests/resnet_spec/graph/fingerprints.json

# Each spec's published weights, from the libraries' own tables.
published: $(SETUP)
	$(BIN)/python -m tests.oracles.publishing

# Golden traces, made anew by the original libraries.
golden: $(SETUP)
	$(BIN)/python -m tests.golden.making

# The parity lab's figures in docs: how much of its bound a correct network takes up, whether each known mistake is
# heard, whether networks train alike, and specs drawn at random (a long run).
calibration mutations training: $(SETUP)
	$(BIN)/python -m tests.lab.$@ $(ARGUMENTS)

random: $(SETUP)
	$(BIN)/python -m tests.lab.random_specs --count 10000 $(ARGUMENTS)

benchmark: $(SETUP) $(RIVALS)/.installed
	RIVALS=$(RIVALS) $(BIN)/python -m benchmarks

# Converters that are timed beside ours pin other versions of the same libraries.
$(RIVALS)/.installed:
	$(PYTHON) -m venv $(RIVALS)
	$(RIVALS)/bin/python -m pip install --quiet onnx2tf==1.29.24
	touch $@

schema: $(SETUP)
	$(BIN)/resnet-spec schema > specs/spec.schema.json
	$(BIN)/resnet-spec schema --block > specs/block.schema.json

# docs/modules.md, from the modules' docstrings.
modules: $(SETUP)
	$(BIN)/python -m tests.docs.modules

$(SETUP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all]" --group dev
	touch $@

clean:
	rm -rf $(VENV) $(RIVALS) dist build
