# setup  the virtual environment, vLLM for this machine included   demo   the whole chain on real photos, one page
# test   every test                                                check  format, lint, types, import arrows
# bench  each claim beside its peer                        speedrun  photos to weights, timed (PHOTOS=DIR)
VENV ?= .venv
export VENV
RUN := $(VENV)/bin

.PHONY: setup demo speedrun test check format bench

setup:
	@bash scripts/setup.sh

demo: setup
	$(RUN)/python demo/run.py $(if $(PHOTOS),--photos "$(PHOTOS)")

speedrun: setup
	$(RUN)/python train/mini/speedrun.py "$(PHOTOS)"

# The many processes that tests start find our modules compiled by the first of them, whatever the environment says.
test: setup
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(RUN)/python -m pytest --numprocesses 2 --dist loadfile

check: setup
	$(RUN)/ruff format --check .
	$(RUN)/ruff check .
	$(RUN)/mypy
	$(RUN)/lint-imports

format: setup
	$(RUN)/ruff format .
	$(RUN)/ruff check --fix .

# SUPIR_PARITY_DIR: folder of stored numbers of another implementation, for benchmarks/parity.py
# SUPIR_PHOTOS: folder of camera photos, for benchmarks/probes.py and jpeg_crop.py
# SUPIR_PAIRS: folder with lq/ and hq/, such as demo/build, for benchmarks/restore_peers.py
# SUPIR_BASICSR: basicsr-1.4.2.tar.gz from PyPI, or its unpacked folder, for benchmarks/degrade.py and degrade_batch.py
bench: setup
	@for file in $(filter-out benchmarks/common.py benchmarks/parity% benchmarks/degrade% benchmarks/probes% benchmarks/jpeg_crop% benchmarks/curate% benchmarks/fetch_% benchmarks/restore_peers.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(RUN)/python $$file || exit 1; done
	@[ -z "$$SUPIR_PARITY_DIR" ] || $(RUN)/python benchmarks/parity.py "$$SUPIR_PARITY_DIR"
	@[ -z "$$SUPIR_PHOTOS" ] || $(RUN)/python benchmarks/probes.py "$$SUPIR_PHOTOS"
	@[ -z "$$SUPIR_PHOTOS" ] || $(RUN)/python benchmarks/curate.py "$$SUPIR_PHOTOS"
	@[ -z "$$SUPIR_PHOTOS" ] || $(RUN)/python benchmarks/jpeg_crop.py "$$SUPIR_PHOTOS"
	@[ -z "$$SUPIR_PAIRS" ] || $(RUN)/python benchmarks/restore_peers.py "$$SUPIR_PAIRS"
	@[ -z "$$SUPIR_BASICSR" ] || $(RUN)/python benchmarks/degrade.py "$$SUPIR_BASICSR"
	@[ -z "$$SUPIR_BASICSR" ] || $(RUN)/python benchmarks/degrade_batch.py "$$SUPIR_BASICSR"
