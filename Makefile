# PYTHON=... names the interpreter of `make gpu`, which is used as it is; then nothing is installed
GIVEN := $(filter command environment,$(origin PYTHON))
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help run test soak timed gpu check clean
help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

run: .venv/installed ## set up .venv, then python run.py; more by make run ARGS="student=thin seed=1"
	$(BIN)/python run.py $(ARGS)

# Two processes share the cores, so threads that wait for work are to sleep. Compiled modules are kept for all processes.
SHARED := OMP_WAIT_POLICY=passive PYTHONDONTWRITEBYTECODE=

test: .venv/installed ## set up .venv, then the whole test suite; less by make test ARGS="-k maxout"
	$(SHARED) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10 $(ARGS)

soak: .venv/installed ## what takes minutes or is random: kills, mistakes, every export
	$(SHARED) $(BIN)/python -m pytest -n 2 -m soak --timeout 3600 $(ARGS)

timed: .venv/installed ## what needs the machine for itself: start-up, estimates, the page of 2000 runs
	$(BIN)/python -m pytest -s -m timed $(ARGS)

gpu: $(if $(GIVEN),,.venv/installed) ## what needs a CUDA device, at most eight minutes; make gpu PYTHON=python3 installs nothing
	$(if $(GIVEN),$(PYTHON),$(BIN)/python) tests/gpu_checks.py $(ARGS)

check: .venv/installed ## ruff format and lint, mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

clean: ## remove .venv and caches; results under outputs/ stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[cluster,dev]"
	# for tests alone, in a folder that nothing else sees: torchvision cannot be imported beside a CPU build of PyTorch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --target .venv/timm timm torchvision
	touch $@
