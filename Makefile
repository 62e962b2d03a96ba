# make demo   segment a brain template and leave pictures in demo/
# make test   run the tests
# Both make their own .venv; the second time they start at once.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
TEMPLATE = $(shell $(BIN)/python -c "import importlib.util, pathlib; print(next(pathlib.Path(importlib.util.find_spec('nilearn').origin).parent.glob('datasets/data/mni_icbm152_t1_*.nii.gz')))")

.PHONY: demo test clean

demo: $(VENV)/.demo
	$(BIN)/medllmseg segment "$(TEMPLATE)" --output demo --report --overwrite

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

$(VENV)/.demo: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.test: requirements-dev.txt $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) demo build *.egg-info
