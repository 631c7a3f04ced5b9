# make run and make test need Python 3.11 and make, nothing else
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := runs/demo
HOLDOUT := data=synthetic data.clips=36 data.holdout=12 limit=8
export HF_HUB_OFFLINE ?= 1

.DEFAULT_GOAL := help
.PHONY: help install run test test-gpu check format smoke clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 12

install: $(VENV)/.installed ## the environment in .venv, with pinned dependencies

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

run: install ## train the temporal layers a little, evaluate against both baselines, generate a clip
	$(BIN)/python train.py experiment=demo
	$(BIN)/python evaluate.py $(HOLDOUT) checkpoint=$(DEMO)/train output=$(DEMO)/evaluate/4d
	$(BIN)/python evaluate.py $(HOLDOUT) baseline=per_frame output=$(DEMO)/evaluate/per_frame
	$(BIN)/python evaluate.py $(HOLDOUT) baseline=per_frame_shared_noise output=$(DEMO)/evaluate/per_frame_shared_noise
	$(BIN)/python generate.py input=data/synthetic/quadruped_holdout_0000 checkpoint=$(DEMO)/train output=$(DEMO)/clip overwrite=true
	@$(BIN)/python -m experiments.table evaluations --without-paper $(DEMO)/evaluate/per_frame $(DEMO)/evaluate/per_frame_shared_noise $(DEMO)/evaluate/4d
	@echo
	@echo "Look at:  $(DEMO)/clip/index.html         the generated clip, to orbit and play in a browser"
	@echo "          $(DEMO)/clip/animated.glb       the same in Blender (File > Import > glTF)"
	@echo "          $(DEMO)/clip/contact_sheet.png  input above, mesh below"
	@echo "          $(DEMO)/evaluate/*/metrics.json the numbers of the table, with every setting"

test: install ## all tests that need no GPU
	$(BIN)/python -m pytest -n 2 -m "not gpu" --jaxtyping-packages=sculpt4d,beartype.beartype

test-gpu: install ## the tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

check: install ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: install ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

smoke: install ## one nano training, seconds
	$(BIN)/python train.py model=nano stages=[vae,base,temporal] data.clips=4 data.holdout=2 output=runs/smoke

clean: ## forget runs (data and environment stay)
	rm -rf runs
