"""The processes of a stack and their commands: the same for `goldsmith up`, `goldsmith run` and the containers."""

from __future__ import annotations

import sys

from goldsmith.settings import Settings

NAMES = ("api", "worker-io", "worker-cpu", "worker-gpu", "beat", "serve", "flower", "rehearsal-teacher")


def command(name: str, settings: Settings) -> list[str]:
    """What runs the process; a secret is never part of it."""
    module = {
        "api": ["api"],
        "worker-io": ["worker", "io"],
        "worker-cpu": ["worker", "cpu"],
        "worker-gpu": ["worker", "gpu"],
        "beat": ["worker", "beat"],
        "serve": ["api.serve"],
        "flower": [
            *("celery", "-A", "worker.flower", "flower", "--address=" + settings.flower_host, f"--port={settings.flower_port}"),
            f"--logging={settings.log_level}",
        ],
        "rehearsal-teacher": ["goldsmith.teacher.rehearsal", "--port", str(settings.rehearsal_port)],
    }[name]
    return [sys.executable, "-m", *module]
