# make check      lint, types and the fast tests: what to run while working
# make test       build a virtual environment, install, run every test
# make test-tree  the same with NNX modules as trees only, and 64-bit types off
# make test-other  the fast tests on another Python, the newest at hand or OTHER=python3.13; OTHER_TORCH is its torch
# make lint       ruff's rules and format, and types
# make site       the API reference from the docstrings, into site/, its links checked
# make costs      measure what every test costs, and list anew which are not fast
# make sample PROMPT="a red apple"   the embedded model draws it, into RESULT
# Set PYTHON to choose an interpreter (3.11 or newer), VENV to put the environment elsewhere.
# The tests need torch.  The ordinary index's wheel for Linux brings CUDA, gigabytes of it; PyTorch's wheel for CPUs is enough:
# make test TORCH=FILE_OR_ADDRESS_OF_THE_WHEEL

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
PY = $(VENV)/bin/python
PIP = $(PY) -m pip install --quiet --disable-pip-version-check
OTHER ?= $(firstword $(foreach name,python3.14 python3.13 python3.12,$(shell command -v $(name) >/dev/null && \
	$(name) -c "import ensurepip, sys; print(sys.executable)" 2>/dev/null)) $(lastword $(sort $(wildcard \
	$(HOME)/.pyenv/versions/3.12.*/bin/python $(HOME)/.pyenv/versions/3.13.*/bin/python $(HOME)/.pyenv/versions/3.14.*/bin/python))))
OTHER_TORCH ?= torch==2.13.0
PYTEST_ARGS ?= -n 2 --dist worksteal

PROMPT ?= a red apple
export PROMPT

.PHONY: install sample site check lint test-fast test test-tree test-other costs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

sample: $(VENV)/.installed
	$(PY) main.py --mode=sample --prompt="$$PROMPT" --num_images_per_prompt=4

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt
	$(PIP) $(TORCH)
	$(PIP) --no-deps pytorch-fid==0.3.0 clean-fid==0.1.35
	$(PIP) -r requirements-test.txt
	touch $@

$(VENV)/.installed-lint: $(VENV)/.installed-test
	$(PIP) -e ".[lint]"
	touch $@

# A browser for the tests of the page: what is there, or Playwright's own, which needs no rights on the system; without one they are
# skipped.  In CI they are not, and the machine is CI's own: there it is Debian's.
$(VENV)/.installed-browser: $(VENV)/.installed-test
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
		{ test "$$CI" = true && apt-get -qq update && apt-get -qq -y install --no-install-recommends chromium; } >/dev/null || \
		$(PY) -m playwright install chromium >/dev/null 2>&1 || echo "no browser: the tests of the page are skipped"
	touch $@

site: $(VENV)/.installed
	$(PIP) -e ".[docs,demo]"
	$(PY) -m docs.site --out=site

# Types are checked beside the tests; what both need is installed before.
check: $(VENV)/.installed-lint
	$(MAKE) -j2 lint test-fast

# Types are checked beside what is installed, hence after the tests' packages, which name all that the package can use.
lint: $(VENV)/.installed-lint
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright

test-fast: $(VENV)/.installed-test
	$(PY) -m pytest $(PYTEST_ARGS) -m "not slow and not medium"

test: $(VENV)/.installed-browser
	$(PY) -m pytest $(PYTEST_ARGS)

test-tree: $(VENV)/.installed-browser
	NNX_GRAPH_MODE=false JAX_ENABLE_X64=0 $(PY) -m pytest $(PYTEST_ARGS)

test-other:
ifeq ($(OTHER),)
	@echo "skipped: no Python 3.12 or newer is at hand; name one with OTHER=python3.13"
else
	@echo "the fast tests on $(OTHER)"
	$(MAKE) test-fast PYTHON="$(OTHER)" VENV="$(VENV)-other" TORCH="$(OTHER_TORCH)"
endif

# One test at a time and from an empty cache of compiled programs, so that no test is cheap because of another.
costs: $(VENV)/.installed-browser
	rm -rf build/costs
	mkdir -p build/costs
	JAX_COMPILATION_CACHE_DIR=build/costs/compiled $(PY) -m pytest --costs=build/costs/costs.jsonl
	$(PY) -m tests.costs build/costs/costs.jsonl

clean:
	rm -rf $(VENV) build *.egg-info
