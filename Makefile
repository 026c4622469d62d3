# setup  the virtual environment, vLLM for this machine included   demo   the whole chain on real photos, one page
# test   every test                                                check  format, lint, types, import arrows
# bench  each claim beside its peer
VENV ?= .venv
export VENV
RUN := $(VENV)/bin

.PHONY: setup demo test check format bench

setup:
	@bash scripts/setup.sh

demo: setup
	$(RUN)/python demo/run.py $(if $(PHOTOS),--photos "$(PHOTOS)")

test: setup
	$(RUN)/python -m pytest

check: setup
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports

format: setup
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

bench: setup
	@for file in $(filter-out benchmarks/common.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(RUN)/python $$file || exit 1; done
