# Needs Python (3.11 or later), make and git. Every target sets up .venv once, by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
OUT ?= demo

.PHONY: help demo test search fuzz triton lint pages docs bench
help:
	@echo "make demo    train a small network, explain digits in six semirings, write a report to $(OUT)/"
	@echo "make test    the whole test suite"
	@echo "make fuzz    random programs for HOURS hours (1), from SEED or a seed that it prints; failures as programs"
	@echo "make search  the suite's property tests on examples that no run has drawn before"
	@echo "make triton  the GPU kernels, in Triton's interpreter; installs triton (Linux)"
	@echo "make lint    ruff and pyright"
	@echo "make pages   the generated pages of docs/, after a change of a registry"
	@echo "make docs    these, and the site, in build/docs/"
	@echo "make bench   the benchmarks"

demo: $(STAMP)
	$(BIN)/provnet demo --out $(OUT) --force

# Every test runs on one thread, and so as many at a time as there are cores.
test: $(STAMP)
	$(BIN)/python -m pytest -n $(or $(JOBS),auto) --maxprocesses 8 --dist worksteal

search: $(STAMP)
	$(BIN)/python -m pytest -n $(or $(JOBS),auto) --maxprocesses 8 --dist worksteal -m hypothesis --hypothesis-profile search

fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz.run --hours $(or $(HOURS),1) $(if $(SEED),--seed $(SEED)) --out build/fuzz

# The extra `gpu`, without what torch has brought. Triton compiles without a GPU, and runs in its interpreter.
triton: $(STAMP)
	$(PIP) --no-deps $$(grep -E '^(triton|platformdirs)==' constraints.txt)
	$(BIN)/python -m pytest tests/torch_backend/test_triton.py tests/torch_backend/test_triton_compiled.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

pages: $(STAMP)
	for page in guarantees semirings hierarchy ops conventions listing coverage notebook; do \
		$(BIN)/python docs/make_$$page.py || exit 1; done

docs: pages
	$(PIP) -e '.[docs]'
	$(BIN)/python docs/make_gallery.py
	$(BIN)/python -m mkdocs build --strict --site-dir build/docs

bench: $(STAMP)
	for script in tests/benchmarks/bench_*.py; do $(BIN)/python -m tests.benchmarks.$$(basename $$script .py) || exit 1; done

# torch first and by its exact version: an open range would take the newest build, with gigabytes of CUDA. The tests
# compare with zennit and LXT, which come alone: they would bring torchvision, and zennit's range of Pythons is narrow.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $$(grep '^torch==' constraints.txt)
	$(PIP) -e '.[demo,dev]'
	$(PIP) --no-deps --ignore-requires-python $$(grep -E '^(zennit|lxt)==' constraints.txt) \
		|| echo "zennit and lxt are not installed: the tests that compare with them skip"
	touch $@
