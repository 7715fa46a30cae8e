# Every target below does its own set-up first: `make demo` on a fresh clone is enough. `make help` lists them.

RECIPE    ?= recipes/phantom.yaml
DATA      ?=
LAUNCH    ?= 1
LAUNCH_ARGS ?=
RUN       ?= default
OVERRIDES ?=
VENV      ?= .venv
DEVICE    ?= auto
TESTS     ?= tests
PYTEST    ?=
SOAK_MINUTES ?= 60

override VENV := $(abspath $(VENV))
PYTHON := $(VENV)/bin/python
SKINRL := $(PYTHON) -m skinrl.cli
MEASURED := $(PYTHON) tools/measure.py --
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo)
# The interpreter that makes the environment: the environment's own once it is there, else the first that is new enough.
FIND_PYTHON = for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$python; break; fi; done

EXPERIMENT = $(RECIPE) $(OVERRIDES) $(if $(DATA),--data $(DATA)) --run $(RUN)
# LAUNCH: 1 process, N GPUs of this machine, or the path of an accelerate configuration (several nodes).
CONFIG = $(if $(wildcard $(LAUNCH)),$(LAUNCH),launch/zero3_$(LAUNCH)gpu.yaml)
START = $(if $(filter 1,$(LAUNCH)),$(SKINRL),$(PYTHON) -m accelerate.commands.launch --config_file $(CONFIG) $(LAUNCH_ARGS) -m skinrl.cli)
# The evaluation: N processes of this machine share the cases, on CPU too.
SHARE = $(if $(filter 1,$(LAUNCH)),$(SKINRL),$(if $(wildcard $(LAUNCH)),$(START),$(PYTHON) -m torch.distributed.run --standalone --nproc_per_node $(LAUNCH) -m -- skinrl.cli))

.DEFAULT_GOAL := help
.PHONY: help setup demo sft grpo eval doctor test lint types bench soak gpu-smoke wheel lock system-packages chromium clean launch

help:  ## this list
	@echo "skinrl: dermatology vision-language models, trained by SFT and GRPO on a disease hierarchy"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST)); echo
	@echo "Variables (the default in brackets):"
	@echo "  RECIPE=FILE       the experiment [$(RECIPE)]        DATA=DIR   replaces the data path of the recipe"
	@echo "  RUN=NAME          the same name resumes the run [default]   OVERRIDES='grpo.learning_rate=1e-6 seed=2'"
	@echo "  LAUNCH=1|N|FILE   one process, N GPUs, or an accelerate configuration [1]; LAUNCH_ARGS='--machine_rank 1'"
	@echo "  VENV=DIR          an environment of your own: only what is missing is added to it [.venv]"
	@echo "  DEVICE=cpu|gpu    [gpu where nvidia-smi sees one]     TESTS=tests/test_report.py   what make test runs [tests]"
	@echo; echo "Examples:"
	@echo "  make demo"
	@echo "  make sft RECIPE=recipes/pad_ufes_20_tiny.yaml DATA=../shared/data/pad_ufes_20"
	@echo "  make sft RECIPE=recipes/skin_r1_qwen2_5_vl_7b.yaml LAUNCH=8 RUN=first"

setup:  ## the environment alone: $(VENV) with the exact versions of requirements/
	@python=$$($(FIND_PYTHON)); test -n "$$python" || { echo "set-up: no Python 3.11 or newer found" >&2; exit 2; }; \
	$$python tools/setup_env.py --venv $(VENV) --device $(DEVICE)

demo: setup  ## the whole method on synthetic lesions: SFT, GRPO, evaluation side by side (CPU, about 20 minutes)
	$(MEASURED) $(SKINRL) demo $(EXPERIMENT)

sft: setup launch  ## supervised fine-tuning on trajectories, as RECIPE says
	$(MEASURED) $(START) sft $(EXPERIMENT)

grpo: setup launch  ## GRPO with rewards on the hierarchy, from the SFT of the same RUN
	$(MEASURED) $(START) grpo $(EXPERIMENT)

eval: setup  ## base, SFT and SFT + GRPO on held-out cases -> runs/<recipe>/<run>/comparison.json, report.html
	$(MEASURED) $(SHARE) eval $(EXPERIMENT)

doctor: setup  ## what would fail or silently corrupt a run of RECIPE, before it costs GPU hours
	$(SKINRL) doctor $(RECIPE)

test: setup lint types  ## lint, types, then the test suite (TESTS=tests/test_report.py PYTEST='-k valid' for less)
	$(PYTHON) -m pytest -p tests.no_skips --timeout 600 $(PYTEST) $(TESTS)

lint: setup  ## ruff, check and format
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .

types: setup  ## mypy, on the packages as a wheel would lay them out
	$(PYTHON) tools/check_types.py

bench: setup  ## every benchmark -> runs/bench/*.json
	@mkdir -p runs/bench
	@set -e; for file in $(filter-out benchmarks/gpu_smoke.py,$(wildcard benchmarks/*.py)); do echo "$$file"; \
	$(PYTHON) "$$file" --json "runs/bench/$$(basename "$$file" .py).json"; done

soak: setup  ## GRPO of RECIPE for SOAK_MINUTES (60), interrupted and resumed: memory must not grow
	$(PYTHON) tools/soak.py $(RECIPE) --minutes $(SOAK_MINUTES) $(if $(DATA),--data $(DATA)) -- $(OVERRIDES)

gpu-smoke: setup  ## one GPU, under 8 minutes: 7B shape, LoRA, colocated vLLM, five GRPO steps
	$(MEASURED) $(PYTHON) benchmarks/gpu_smoke.py

wheel: setup  ## a wheel in dist/
	$(PYTHON) -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

lock: setup  ## work out requirements/<DEVICE>.txt anew from the .in files (DEVICE=cpu or gpu)
	$(PYTHON) tools/lock_requirements.py $(DEVICE)

system-packages:  ## what the system must have (Debian, Ubuntu; asks for root): Python with venv, a C++ compiler, Chromium
	$(AS_ROOT) apt-get install --yes python3-venv python3-dev g++ make
	@$(MAKE) --no-print-directory chromium

chromium:  ## a browser for the tests of pages (Debian, Ubuntu; asks for root)
	$(AS_ROOT) apt-get update --quiet
	$(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends chromium

clean:  ## remove caches and build folders; runs/ and the environment stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find skinrl rewards taxonomy tests tools benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

launch:
	@test "$(LAUNCH)" = 1 || test -f "$(CONFIG)" || { \
	echo "LAUNCH=$(LAUNCH): no $(CONFIG); there are: 1, $(wildcard launch/*.yaml)" >&2; exit 2; }
