# API, migrations, beat and Flower: everything that neither trains nor answers. Build from the repository's root:
#   docker build -f docker/api.Dockerfile -t goldsmith-api .
FROM python:3.11.14-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    GOLDSMITH_STATE_DIR=/var/lib/goldsmith

# The state folder exists with its owner, so that a new volume mounted on it gets the same owner.
RUN useradd --uid 1000 --create-home goldsmith \
 && install --directory --owner=goldsmith --group=goldsmith --mode=0700 /var/lib/goldsmith /var/lib/goldsmith-locks

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE alembic.ini ./
COPY goldsmith goldsmith
COPY api api
COPY worker worker
COPY migrations migrations
COPY docker/health.py docker/health.py

# Editable, because the migrations lie beside the packages and not in them.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt --editable ".[core,bedrock]"

USER 1000
EXPOSE 17804
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "docker/health.py", "http", "17804", "/readyz"]
CMD ["goldsmith", "run", "api"]
