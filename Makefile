# `make demo` animates a photo, `make test` checks everything; both set up .venv first, once.
VENV := .venv
BIN := $(VENV)/bin
PHOTO ?= examples/raccoon.jpg
OUT ?= out/demo.mp4
SHARED ?= ../shared

# PyPI's torch for Linux brings gigabytes of CUDA; the CPU build that constraints.txt names is here.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

is_new_enough = $(shell $(1) -c 'import sys; print(sys.version_info >= (3, 10) or "")' 2>/dev/null)
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python3.10,$(if $(call is_new_enough,$(name)),$(name))))

# $(call install,VENV,WHAT): installs WHAT into the environment VENV, which it makes if need be.
# torch comes first, and alone: from wherever pip is told to look, else from TORCH_INDEX.
define install
@test -n "$(PYTHON)" || { echo "kinephoto needs Python 3.10 or newer (on Debian: apt install python3 python3-venv)." >&2; exit 1; }
@$(PYTHON) -c "import venv, ensurepip" 2>/dev/null || { echo "$(PYTHON) can't make environments yet (on Debian: apt install python3-venv)." >&2; exit 1; }
@echo "Setting up $(1), once: about 2 GB, a minute or a few."
@$(PYTHON) -m venv $(1)
@$(1)/bin/pip install -qq -c constraints.txt --no-deps torch 2>/dev/null \
  || $(1)/bin/pip install -qq -c constraints.txt --no-deps --index-url $(TORCH_INDEX) torch
@$(1)/bin/pip install -qq -c constraints.txt $(2)
endef

.PHONY: demo test test-browser test-scale docs wheel check-wheel bench changelog clean

demo: $(VENV)/installed
	@mkdir -p $(dir $(OUT))
	$(BIN)/kinephoto animate $(PHOTO) -o $(OUT)
	@echo "The video is $(abspath $(OUT))"

test: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile

# A real browser without a network; `make test` does without one.
test-browser: $(VENV)/installed-dev
	@command -v chromium >/dev/null || { echo "There is no Chromium; get it with: apt install chromium chromium-driver" >&2; exit 1; }
	$(BIN)/pytest -m browser -n 2 tests/browser

# Killed drivers, a cluster that loses a node, tens of thousands of rows; minutes.
test-scale: $(VENV)/installed-dev
	$(BIN)/pytest -m scale tests/scale

docs: $(VENV)/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build -q --strict
	@echo "The documentation is $(abspath site/index.html)"

wheel: $(VENV)/installed-dev
	@rm -rf dist
	$(BIN)/python -m build
	@ls -l dist

# The wheel must do the main job alone: in an empty environment, far from this folder.
check-wheel: wheel
	@rm -rf out/wheel && mkdir -p out/wheel
	$(call install,out/wheel/venv,dist/*.whl)
	cd out/wheel && venv/bin/kinephoto animate ../../$(PHOTO) -o wheel.mp4
	out/wheel/venv/bin/python .ci/playable.py out/wheel/wheel.mp4
	@rm -rf out/wheel/venv

# Minutes, on a machine with nothing else to do; docs/results.md says which numbers come from which line.
bench: $(VENV)/installed-dev
	@mkdir -p runs
	$(BIN)/python benchmarks/renderer.py --out runs/renderer.json
	$(BIN)/python benchmarks/animate.py --photo $(PHOTO) --out runs/animate.json
	$(BIN)/kinephoto evaluate speed --photo $(PHOTO) --out runs/speed
ifneq ($(wildcard $(SHARED)/data),)
	$(BIN)/kinephoto evaluate depth --photos $(SHARED)/data/photos --scenes $(SHARED)/data/multiview --out runs/depth
	$(BIN)/kinephoto evaluate views --scenes $(SHARED)/data/multiview --out runs/views
endif

changelog: $(VENV)/installed
	$(BIN)/python news/collect.py

clean:
	rm -rf $(VENV) build dist site out runs .pytest_cache .ruff_cache .mypy_cache .hypothesis

$(VENV)/installed: pyproject.toml constraints.txt
	$(call install,$(VENV),-e .)
	@touch $@

$(VENV)/installed-dev: pyproject.toml constraints.txt $(VENV)/installed
	$(call install,$(VENV),-e .[dev])
	@touch $@
