# make test       build a virtual environment, install, run every test
# make test-tree  the same with NNX modules as trees only, and 64-bit types off
# make lint       static checks
# make sample PROMPT="a red apple"   the embedded model draws it, into RESULT
# Set PYTHON to choose an interpreter (3.11 or newer), VENV to put the environment elsewhere.
# The tests need torch.  The ordinary index's wheel for Linux brings CUDA, gigabytes of it; PyTorch's wheel for CPUs is enough:
# make test TORCH=FILE_OR_ADDRESS_OF_THE_WHEEL

PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
PY = $(VENV)/bin/python
PYTEST_ARGS ?= -n 2 --dist worksteal

PROMPT ?= a red apple
export PROMPT

.PHONY: install sample test test-tree lint clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -e .
	touch $@

sample: $(VENV)/.installed
	$(PY) main.py --mode=sample --prompt="$$PROMPT" --num_images=4

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt
	$(PY) -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps pytorch-fid==0.3.0 clean-fid==0.1.35
	$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-test.txt
	touch $@

# A browser for the tests of the page: what is there, or Playwright's own, which needs no rights on the system; without one they are
# skipped.  In CI they are not, and the machine is CI's own: there it is Debian's.
$(VENV)/.installed-browser: $(VENV)/.installed-test
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
		{ test "$$CI" = true && apt-get -qq update && apt-get -qq -y install --no-install-recommends chromium; } >/dev/null || \
		$(PY) -m playwright install chromium >/dev/null 2>&1 || echo "no browser: the tests of the page are skipped"
	touch $@

test: $(VENV)/.installed-browser
	$(PY) -m pytest $(PYTEST_ARGS)

test-tree: $(VENV)/.installed-browser
	NNX_GRAPH_MODE=false JAX_ENABLE_X64=0 $(PY) -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed-test
	$(PY) -m pip install --quiet --disable-pip-version-check ruff
	$(PY) -m ruff check .

clean:
	rm -rf $(VENV) build *.egg-info
