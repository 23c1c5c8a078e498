# Every target creates .venv on first use, with the first suitable Python of the list below.
# PYTHON=/path/to/python3.12 picks another.
WILL_DO := import sys, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 13))
PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3 python; do \
  $$p -c "$(WILL_DO)" 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
# Only `make site` and its tests need Sphinx.
SITE := .venv/.site
# Notebook 04 runs these versions of transformers; each is installed into a folder of its own.
OVERLAYS := .overlays/.ready
LIVE_VERSIONS := 4.40.0 4.42.4 4.44.2
# The tests also use two later versions, and a package with its own copy of the published code.
TESTED := .overlays/.tested
TESTED_VERSIONS := 4.48.3 4.52.4 deep_training

# The models are tiny: two threads mostly wait for each other, and wait long when a core is taken.
export OMP_NUM_THREADS ?= 1
# Stored outputs and comparisons must not depend on warnings or thread races.
export PYTHONWARNINGS ?= ignore
export TOKENIZERS_PARALLELISM = false

# Jupyter, Matplotlib and Hugging Face keep files at home; where it is read-only, they get a place here.
ifeq ($(shell test -w "$$HOME" && echo yes),)
export HOME := $(CURDIR)/build/home
$(shell mkdir -p $(CURDIR)/build/home)
endif

NOTEBOOKS := $(sort $(wildcard notebooks/0*.ipynb)) $(sort $(wildcard notebooks/zh/0*.ipynb))
# The outputs of these are compared with the stored ones; of the others, which train, only a few are.
STRICT := $(filter notebooks/01_% notebooks/04_% notebooks/zh/01_% notebooks/zh/04_%,$(NOTEBOOKS))
PYTEST := TQDM_DISABLE=1 $(BIN)/python -m pytest -q
# nbval needs a time limit per cell; a day is as good as none.
NBVAL := GLM_PPO_QUICK=1 GLM_PPO_PROFILE=tiny $(PYTEST) --nbval-current-env --nbval-cell-timeout=86400

.PHONY: help run check test lab notebooks tables site base lab-versions colab-check gpu lint lock

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-13s %s\n", $$1, $$2 }' Makefile

run: $(READY) $(OVERLAYS) ## run the series, two notebooks at a time; executed copies in build/run
	$(BIN)/python tools/run_notebooks.py --out build/run $(NOTEBOOKS)
	$(BIN)/python -m glm_ppo_utils.pipeline

check: lint ## what every change must pass: lint, types, and the quick tests (no overlay, network or training)
	$(PYTEST) -n 2 --dist loadfile -m "not slow and not network" tests

test: lint $(OVERLAYS) $(TESTED) $(SITE) ## all tests but those that install a trainer, then the notebooks with few training steps
	$(PYTEST) -n 2 --dist loadfile -m "not network" tests
	$(NBVAL) --nbval $(STRICT)
	$(NBVAL) --nbval-lax $(filter-out $(STRICT),$(NOTEBOOKS))

lab: $(READY) $(OVERLAYS) ## open the series in JupyterLab; in a container: make lab ARGS="--ip=0.0.0.0 --allow-root"
	$(BIN)/jupyter lab --ServerApp.root_dir=. --FileContentsManager.preferred_dir=notebooks $(ARGS)

notebooks: $(READY) $(OVERLAYS) ## execute all notebooks and store their outputs
	$(BIN)/python tools/run_notebooks.py --inplace $(NOTEBOOKS)

tables: $(READY) ## rewrite the tables and figures of the READMEs and RESULTS.md from the CSV files in notebooks/runs
	$(BIN)/cog -r -I tools README.md README.zh-CN.md RESULTS.md
	PYTHONPATH=tools $(BIN)/python -c "import tables; tables.figures()"

site: $(SITE) ## README and the stored notebooks as HTML in build/site; fails on a broken link
	$(BIN)/sphinx-build -W --keep-going -q -c tools/site . build/site

base: $(READY) ## pretrain the small base model again; replaces the one in glm_ppo_utils/base_model
	$(BIN)/python tools/pretrain_base.py

lab-versions: $(READY) ## probe every version of transformers; writes the table of notebook 04
	$(BIN)/python -m glm_ppo_utils.labs.versions matrix

colab-check: $(READY) ## run the notebooks on the packages of Colab's runtime (Python 3.12, 5 GB, no GPU)
	$(BIN)/python tools/colab_check.py --python python3.12

gpu: ## all measurements on a GPU, at most nine minutes; GPU_PYTHON=python3.12 takes another Python than .venv's
	$(or $(GPU_PYTHON),$(BIN)/python) benchmarks/gpu_day.py $(ARGS)

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy glm_ppo_utils

lock: ## rewrite constraints.txt from pyproject.toml, for every supported Python
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet uv==0.13.9
	build/lock/bin/uv pip compile --quiet --universal --python-version 3.10 --all-extras \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" \
	  --output-file constraints.txt pyproject.toml

$(READY): pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c "$(WILL_DO)" 2>/dev/null || { printf '%s\n' \
	  "Python 3.10, 3.11 or 3.12 is needed (newer ones have no tokenizers 0.19.1)$(if $(PYTHON),; $(PYTHON) is none of them or can make no venv). One way out:" \
	  "  name one that you have:  make PYTHON=/path/to/python3.12" \
	  "  Debian, Ubuntu:          apt install python3.11-venv" \
	  "  conda, Windows too:      conda env create -f environment.yml   (then call jupyter and pytest yourself)" \
	  "  uv:                      uv python install 3.11"; exit 1; }
	@echo "Setting up .venv: 2 GB of packages, 5 GB where torch brings CUDA; some minutes, once"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[series,notebooks,tests]" -c constraints.txt
	@touch $@

$(SITE): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[site]" -c constraints.txt
	@touch $@

$(OVERLAYS): $(READY)
	$(BIN)/python -m glm_ppo_utils.labs.versions install $(LIVE_VERSIONS)
	@touch $@

$(TESTED): $(READY)
	$(BIN)/python -m glm_ppo_utils.labs.versions install $(TESTED_VERSIONS)
	@touch $@
