"""Rollback: what a deployment replaced answers again."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from goldsmith.kinds.base import UUID_PATTERN, JobConfig, JobResult, Reference


class RollbackConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "cpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 1800

    kind: Literal["rollback"] = "rollback"
    deploy: Annotated[str, StringConstraints(pattern=rf"^job:{UUID_PATTERN}$"), Reference("job", kind="deploy")] = Field(
        description="`job:<id>` of the deployment that is undone; it must be the newest of its model."
    )


class RollbackResult(JobResult):
    model: str
    latest: str | None = Field(description="Digest of what `<model>:latest` is again; none when there was nothing before.")
    undone: str = Field(description="Digest of what it was until now; its own tag stays.")
    alias: str | None
    version: int | None = Field(description="Which version of the adapter the alias means again; none: it is gone, as before.")
    answer: str | None = Field(description="What the model says now, to show that it answers.")
