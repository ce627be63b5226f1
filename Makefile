# `make demo` and `make test` are the two commands, `make test-all` the third; everything else serves them. Nothing is installed outside .venv, except
# Debian packages (packages.debian), and those only when root; what the tests make once stays in ~/.cache/cellhold.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := @tools/python-packages $(VENV)
NOTEBOOK := notebooks/00-hello-container.ipynb
CODE := runtime kernel tests tools
KEPT := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cellhold
GUEST := cd tests && ../$(BIN)/python -m vm
SLOW := browser or crowd or cut or flood or guest or notebooks or peers or random
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=10
AS_ROOT_TOO := $(if $(filter 0,$(shell id -u)),--allow-root)  # Jupyter refuses root otherwise, who is at home here
IN_GUEST := $(CURDIR)/$(BIN)/python -m pytest -p no:cacheprovider
AS_ROOT := $(IN_GUEST) -m v2 tests/system tests/kernel
AS_USER := $(IN_GUEST) tests/vm tests/kernel/test_protocol.py
unexport PYTHONDONTWRITEBYTECODE  # every container and every kernel starts a Python: it should find our modules compiled

.PHONY: help demo lab test test-all pytest pytest-slow guest test-vm test-vm-full shots lint bench clean debian-demo debian-test debian-bench debian-vm debian-vm-full

help:
	@echo "make demo      install into $(VENV), run the first notebook in a container, print what its cells printed"
	@echo "make lab       open the notebooks in JupyterLab"
	@echo "make test      format, lint, types, architecture, and all tests but those of make test-all"
	@echo "make test-all  what takes minutes by nature: browsers, notebooks, floods, random kills, power cuts, crowds, peers, and a guest"
	@echo "make test-vm   those of the guest alone, as root and as an ordinary user"
	@echo "make shots     screenshots of the panel, into tests/.shots"
	@echo "make bench     measure against crun, runc and a plain ipykernel"
	@echo "make clean     remove what these made"

demo: $(VENV)/.demo
	$(BIN)/python tools/demo.py $(NOTEBOOK)

lab: $(VENV)/.lab
	$(BIN)/jupyter lab $(AS_ROOT_TOO) $(NOTEBOOK)

test: $(VENV)/.test
	$(MAKE) --jobs=2 lint pytest

# What `make test` leaves out: by the two of them each test runs once, and those of control groups in the guest once more.
test-all: $(VENV)/.test
	$(MAKE) --jobs=2 pytest-slow guest

# Three files at a time on two processors: tests wait more than they work. The longest begin (tests/order.py).
pytest: $(VENV)/.test
	$(PYTEST) -m "not ($(SLOW))"

pytest-slow: $(VENV)/.test
	$(PYTEST) -m "$(SLOW)"

# Its output comes at its end, whole: it runs beside the other tests.
guest: $(VENV)/.test | debian-vm
	@$(MAKE) --no-print-directory test-vm >$(VENV)/guest.log 2>&1; status=$$?; cat $(VENV)/guest.log; exit $$status

test-vm: $(VENV)/.test | debian-vm
	$(GUEST) $(AS_ROOT)
	$(GUEST) --user $(AS_USER)

# The panel's screenshots, to be looked at.
shots: $(VENV)/.test
	$(BIN)/python -m pytest -q tests/browser -k "seen or saved or layers or part"
	@ls $(CURDIR)/tests/.shots/*.png

# An emulated machine: slower, but with the cpuset controller, pressure figures and time namespaces.
test-vm-full: $(VENV)/.test | debian-vm debian-vm-full
	$(GUEST) --kernel qemu --timeout 7200 $(AS_ROOT)
	$(GUEST) --kernel qemu --timeout 7200 --user $(AS_USER)

lint: $(VENV)/.test
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	@mkdir -p $(KEPT)
	flock $(KEPT)/mypy.lock $(BIN)/mypy --cache-dir $(KEPT)/mypy  # a fresh clone has what another one checked
	$(BIN)/lint-imports

bench: $(VENV)/.test debian-bench
	cd tests && ../$(BIN)/python -m bench.container
	cd tests && ../$(BIN)/python -m bench.kernel
	cd tests && ../$(BIN)/python -m bench.flood
	cd tests && ../$(BIN)/python -m bench.images
	cd tests && ../$(BIN)/python -m bench.shell
	cd tests && ../$(BIN)/python -m bench.builds
	cd tests && ../$(BIN)/python -m bench.panel
	cd tests && PYTHONPATH=../notebooks ../$(BIN)/python -m bench.network
	cd tests && PYTHONPATH=../notebooks ../$(BIN)/python -m bench.rootless_network
	cd tests && ../$(BIN)/python -m bench.detached

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------------------------------- installing

debian-demo debian-test debian-bench debian-vm debian-vm-full: debian-%:
	@PYTHON=$(PYTHON) tools/debian-packages $*

$(BIN)/python: | debian-demo
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11: make PYTHON=python3.11 ..., for example"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "$(PYTHON) has no venv module: apt install python3-venv, or make PYTHON=/path/to/another/python3 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The first stamp installs the least that runs a notebook, so that the demo starts soon; the others add to it.
$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(INSTALL) demo
	$(BIN)/cellhold kernel install --sys-prefix
	touch $@

$(VENV)/.lab: pyproject.toml $(VENV)/.demo
	$(INSTALL) demo,lab
	touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.demo | debian-test
	$(INSTALL) demo,test,lint
	touch $@
