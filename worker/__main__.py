"""`python -m worker io|cpu|gpu|beat`: one worker process, or beat."""

from __future__ import annotations

import sys

from goldsmith.errors import GoldsmithError
from goldsmith.queue import QUEUES
from worker import app, beat

name = sys.argv[1] if len(sys.argv) == 2 else ""
if name not in (*QUEUES, "beat"):
    sys.exit(f"usage: python -m worker {'|'.join(QUEUES)}|beat")
try:
    beat.main() if name == "beat" else app.main(name)
except GoldsmithError as error:
    sys.exit(error.detail)
