# Sets up .venv from requirements.lock, and calls virtio-endpoint in it. `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
# Some 200 MB, for `make synth` and `make mutation`, and in an environment of its own; pyproject.toml says why.
SYNTH_VENV := .venv-synth
SYNTH_STAMP := $(SYNTH_VENV)/.ready
# Some 50 MB, for `make browser` alone.
BROWSER_STAMP := $(VENV)/.browser

# Parameters: DEVICE=rng|blk|net|vmmci  INTERFACE=modern|transitional|legacy  WIDTH=64|128|256  QUEUES=n  RAM_SECTORS=n  SEED=n  IMAGE=path  WAVES=1
#             BACKEND=model|native|cocotb|qtest|vfio  CARD=address  VARIANT=names...  KERNEL=series...  ROW=words  CONFIG=names...  MODULES=1  SEEDS=n  STEPS=n,n  MUTANTS=n
COMMON := $(if $(DEVICE),--device $(DEVICE)) $(if $(INTERFACE),--interface $(INTERFACE)) \
	$(if $(WIDTH),--width $(WIDTH)) $(if $(QUEUES),--queues $(QUEUES))
HDL := $(COMMON) $(if $(RAM_SECTORS),--ram-sectors $(RAM_SECTORS))
GUEST := $(foreach kernel,$(KERNEL),--kernel $(kernel)) $(if $(ROW),--row "$(ROW)") $(if $(SEED),--seed $(SEED))
CONFORMANCE := $(if $(BACKEND),--backend $(BACKEND)) $(if $(DEVICE),--device $(DEVICE)) \
	$(if $(INTERFACE),--interface $(INTERFACE)) $(foreach variant,$(VARIANT),--variant $(variant)) \
	$(if $(CARD),--card $(CARD)) $(if $(SEED),--seed $(SEED))
SYNTH := $(foreach config,$(CONFIG),--config $(config)) $(if $(filter 1,$(MODULES)),--by-module) \
	$(if $(SEED),--seed $(SEED))
FUZZ := $(if $(DEVICE),--device $(DEVICE)) $(if $(WIDTH),--width $(WIDTH)) $(if $(QUEUES),--queues $(QUEUES)) \
	$(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(STEPS),--steps $(STEPS)) \
	$(if $(SEQUENCES),--sequences $(SEQUENCES)) $(if $(BACKEND),--backend $(BACKEND))
MUTATION := $(if $(DEVICE),--device $(DEVICE)) $(if $(MUTANTS),--mutants $(MUTANTS)) $(if $(SEED),--seed $(SEED))
SIM := $(COMMON) $(if $(SEED),--seed $(SEED)) $(if $(IMAGE),--image "$(IMAGE)") $(if $(filter 1,$(WAVES)),--waves)

.DEFAULT_GOAL := help
.PHONY: help setup sim guest conformance bench synth fuzz mutation test browser hdl lint clean

help: ## this list
	@echo "make TARGET [DEVICE=rng|blk|net|vmmci] [INTERFACE=modern|transitional|legacy]"
	@echo "     [WIDTH=64|128|256] [QUEUES=n]"
	@echo "     [SEED=n] [IMAGE=path] [WAVES=1] for sim, [RAM_SECTORS=n] for hdl"
	@echo "     [KERNEL='6.1 6.12'] [ROW='words of a row'] [SEED=n] for guest"
	@echo "     [ROW='words of a row'] [SEED=n] for bench"
	@echo "     [BACKEND=model|native|cocotb|qtest|vfio] [CARD=0000:01:00.0] [VARIANT='split-event packed']"
	@echo "     [SEED=n] for conformance"
	@echo "     [CONFIG='rng-64 blk-128'] [MODULES=1] [SEED=n] for synth"
	@echo "     [SEEDS=n] [SEED=n] [STEPS=n,n] [SEQUENCES=n] [BACKEND=native|model] for fuzz"
	@echo "     [DEVICE=rng|blk] [MUTANTS=n] [SEED=n] for mutation"
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 15

sim: $(STAMP) ## simulate: entropy, a FAT file system through virtio-blk, datagrams, a guest with vmmci
	@$(BIN)/virtio-endpoint sim $(SIM)

guest: $(STAMP) ## boot stock Linux on the simulated endpoint, with QEMU
	@$(BIN)/virtio-endpoint guest $(GUEST)

conformance: $(STAMP) ## account for every requirement of the standard: build/conformance/report.html
	@$(BIN)/virtio-endpoint conformance $(CONFORMANCE)

bench: $(STAMP) ## measure: the endpoint against its link, speed of simulation, figures of a Linux guest
	@$(BIN)/virtio-endpoint bench $(if $(ROW),--only "$(ROW)") $(if $(SEED),--seed $(SEED))

synth: $(STAMP) $(SYNTH_STAMP) ## area on three FPGA families, and clock on ECP5
	@PATH="$(CURDIR)/$(SYNTH_VENV)/bin:$$PATH" $(BIN)/virtio-endpoint synth $(SYNTH)

fuzz: $(STAMP) ## random bad input: malformed rings, wrong and missing completions
	@$(BIN)/virtio-endpoint fuzz $(FUZZ)

mutation: $(STAMP) $(SYNTH_STAMP) ## does the test list see bugs? planted ones, and mutants of the gateware
	@PATH="$(CURDIR)/$(SYNTH_VENV)/bin:$$PATH" $(BIN)/virtio-endpoint mutation $(MUTATION)

test: $(STAMP) ## run all tests
	@$(BIN)/virtio-endpoint test -n auto --dist worksteal

browser: $(STAMP) $(BROWSER_STAMP) ## test the page of the conformance report in Chromium, which has to be there
	@$(BIN)/python -m pytest tests/browser/page.py

hdl: $(STAMP) ## write Verilog into build/hdl
	@$(BIN)/virtio-endpoint hdl $(HDL)

lint: $(STAMP) ## style, types, layering, and the Verilog of all configurations
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports
	@$(BIN)/virtio-endpoint lint

clean: ## remove what was generated, .venv included
	rm -rf build $(VENV) $(SYNTH_VENV)

setup: $(STAMP) ## set up .venv only

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; set PYTHON=")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(BROWSER_STAMP): requirements-browser.lock $(STAMP)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(SYNTH_STAMP): requirements-synth.lock
	@$(PYTHON) -m venv --clear $(SYNTH_VENV)
	@$(SYNTH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
