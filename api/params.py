"""Parameters that several routes share."""

from __future__ import annotations

import re
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator

from goldsmith.kinds.base import UUID_PATTERN


def _job_id(given: object) -> object:
    if not isinstance(given, str):
        return given
    if not re.fullmatch(rf"(job:)?{UUID_PATTERN}", given, re.IGNORECASE):
        raise ValueError("must be the id of a job, as job:<id> or <id>, as `goldsmith jobs list` shows it")
    return given.removeprefix("job:")


JobId = Annotated[UUID, BeforeValidator(_job_id)]
