"""What every kind's config and result have in common."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

UUID_PATTERN = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"


class Part(BaseModel):
    """A piece of a result."""

    model_config = ConfigDict(extra="forbid")


class Interval(Part):
    value: float
    low: float
    high: float


class Reference:
    """Marks a field that points to something; submitting checks that it is there and pins what moves."""

    def __init__(
        self,
        to: Literal["job", "artifact", "checkpoint", "dataset", "adapter", "experiment", "upload"],
        *,
        kind: str | None = None,
    ) -> None:
        self.to = to
        self.kind = kind
        """For jobs and uploads: the only kind that will do."""

    def fits(self, ref: str) -> bool:
        """Whether a reference is of this mark's sort; a field may take several."""
        sort = ref.partition(":")[0] if ":" in ref else "experiment"
        return self.to == sort or (self.to in ("artifact", "checkpoint") and sort == "job")


Name = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$")]
"""A name that people choose: lower case, digits, dot, dash, underscore; 1 to 64 characters."""

JobRef = Annotated[str, StringConstraints(pattern=rf"^job:{UUID_PATTERN}$"), Reference("job")]
"""`job:<id>`: all that the job made. Waits for it when it has not ended yet."""

ArtifactRef = Annotated[
    str, StringConstraints(pattern=rf"^job:{UUID_PATTERN}/[A-Za-z0-9][A-Za-z0-9._-]{{0,127}}$"), Reference("artifact")
]
"""`job:<id>/<name>`: one artifact of a job."""

DatasetRef = Annotated[
    str, StringConstraints(pattern=rf"^dataset:{NAME_PATTERN}@([1-9][0-9]{{0,8}}|latest)$"), Reference("dataset")
]
"""`dataset:<name>@<version>` or `@latest`, which is pinned to a number at submit."""

UploadRef = Annotated[str, StringConstraints(pattern=rf"^upload:{UUID_PATTERN}$"), Reference("upload")]
"""`upload:<id>`."""

ContextsRef = Annotated[
    str,
    StringConstraints(pattern=rf"^(job:{UUID_PATTERN}/[A-Za-z0-9][A-Za-z0-9._-]{{0,127}}|upload:{UUID_PATTERN})$"),
    Reference("artifact"),
    Reference("upload", kind="contexts"),
]
"""A devserver's template and contexts: an artifact (an import's contexts.json) or an upload of them."""

AdapterRef = Annotated[
    str,
    StringConstraints(pattern=rf"^adapter:{NAME_PATTERN}@([1-9][0-9]{{0,8}}|[a-z][a-z0-9._-]{{0,63}})$"),
    Reference("adapter"),
]
"""`adapter:<name>@<version or alias>`; an alias is pinned to its version at submit."""

TeacherName = Annotated[
    Literal["anthropic", "bedrock", "openai-compatible", "rehearsal"],
    Field(
        description="`anthropic`: Claude, needs ANTHROPIC_API_KEY; `bedrock`: Claude in an AWS region, the EU by default;"
        " `openai-compatible`: Ollama, vLLM or llama.cpp, free on your own machines; `rehearsal`: written rules, for trying out."
    ),
]

ExperimentId = Annotated[str, StringConstraints(pattern=rf"^{UUID_PATTERN}$"), Reference("experiment")]


def _written_out(value: object) -> object:
    """Pydantic would also take a number of seconds."""
    if isinstance(value, datetime) or (isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d", value)):
        return value
    raise ValueError("must be a datetime in ISO 8601 with a zone, such as 2027-01-31T08:00:00Z")


Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), Field(strict=False)]
"""A time with its zone, written in ISO 8601."""


class JobConfig(BaseModel):
    """What is asked. No value is made to fit: "5" is no number. Unknown keys are refused, so that a typo cannot train for six hours."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "io"
    isolated: ClassVar[bool] = False
    """True: `run` is a plain function in a process of its own. False: `run` is a coroutine in the worker."""
    timeout_s: ClassVar[int] = 3600
    max_attempts: ClassVar[int] = 3
    priority: ClassVar[int] = 4
    """9 is first. What somebody waits for stands above what may take its time."""

    outside_workshops: ClassVar[bool] = False
    """True: it does not start while a workshop works with the same machine, unless it is forced."""

    kind: Any

    def drafts(self) -> list[tuple[str, dict[str, Any]]]:
        """Bodies of jobs that it will submit, by the field that has their options: a submit refuses what is wrong in them."""
        return []

    def models(self) -> dict[str, str]:
        """Base models that its jobs will need, by field: a submit refuses those that are known not to be there."""
        return {}


class JobResult(BaseModel):
    """What came out."""

    model_config = ConfigDict(extra="forbid")
