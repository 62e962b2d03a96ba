# `make help` lists the targets. Each one makes its own .venv first; from the second time on it starts at once.
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
TEMPLATE = $(shell $(BIN)/python -c "import importlib.util, pathlib; print(next(pathlib.Path(importlib.util.find_spec('nilearn').origin).parent.glob('datasets/data/mni_icbm152_t1_*.nii.gz')))")
# The Extensions Index's schema is no part of this repository; it is checked against where it lies beside it.
INDEX_SCHEMA := $(firstword $(wildcard ../shared/index/slicer-extension-catalog-entry-schema*.json))
ISSUE_FORMS := $(filter-out %/config.yml,$(wildcard .github/ISSUE_TEMPLATE/*.yml))

# The tests' networks are tiny: more threads than one only wait for each other.
export OMP_NUM_THREADS ?= 1

# Tests of OpenVINO and ONNX Runtime have a process of their own: one that also held Slicer and torch's trainings died at its end.
ENGINES := Testing/edge Testing/engines Testing/studies/test_engines.py
# A process that dies ends the run; pytest would wait for it for ever.
PARALLEL := --numprocesses 2 --dist loadgroup --no-loadscope-reorder --max-worker-restart 0 $(ENGINES:%=--ignore=%)

.PHONY: help demo check check-lint check-format check-types check-imports check-files test-fast test figures mutants torture translations weight clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## segment a brain template; the pictures and files are left in demo/
	env -u OMP_NUM_THREADS $(BIN)/medllmseg segment "$(TEMPLATE)" --output demo --report --overwrite

check: $(VENV)/.test ## lint, format, types, import rules, workflow and index entry (under a minute)
	@$(MAKE) --no-print-directory --jobs 2 check-types check-lint check-format check-imports check-files

check-lint: $(VENV)/.test ## ruff's rules
	$(BIN)/ruff check

check-format: $(VENV)/.test ## ruff's format
	$(BIN)/ruff format --check

check-types: $(VENV)/.test ## mypy
	$(BIN)/mypy

check-imports: $(VENV)/.test ## the floors of the house: which room may import which
	$(BIN)/lint-imports

check-files: $(VENV)/.test ## the form of the GitHub workflow, the issue templates and the Extensions Index entry
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms $(ISSUE_FORMS)
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
ifneq ($(INDEX_SCHEMA),)
	$(BIN)/check-jsonschema --schemafile $(INDEX_SCHEMA) MedLLMSeg.json
endif

test-fast: $(VENV)/.test ## the tests that are not marked slow, on two processes (under three minutes)
	$(BIN)/python -m pytest -m "not slow" $(ENGINES) $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(PYTEST_ARGS)

test: $(VENV)/.test ## all tests, on two processes (under fifteen minutes)
	$(BIN)/python -m pytest $(ENGINES) $(PYTEST_ARGS)
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

figures: $(VENV)/.demo ## how dense the code is: files, lines, functions, and syntax nodes on a line
	$(BIN)/python tools/code_figures.py

mutants: $(VENV)/.test ## change the program in many small ways and list the changes that no test notices
	$(BIN)/python tools/mutants.py

translations: $(VENV)/.test ## write the template of the panel's texts for translators
	$(BIN)/python tools/translation_template.py

torture: $(VENV)/.test ## damage files of every kind for an hour; TORTURE_ARGS="--minutes 5 --kind nifti --seed 0", or "--kill all"
	$(BIN)/python tools/torture.py $(TORTURE_ARGS)

weight: $(VENV)/.demo ## what the repository weighs with its history, against what it may weigh
	$(BIN)/python tools/weight.py

clean: ## remove what the other targets made, .venv too
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(VENV)/.demo: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.test: requirements-dev.txt $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@
