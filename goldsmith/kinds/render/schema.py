"""What rendering anew is asked, and what it answers."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from goldsmith.kinds.base import ContextsRef, DatasetRef, JobConfig, JobResult, Name


class RenderConfig(JobConfig):
    """Make a version of a dataset whose prompts are rendered by another template. Contexts and answers stay; nothing is bought."""

    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "cpu"
    isolated: ClassVar[bool] = True

    kind: Literal["render"] = "render"
    dataset: DatasetRef = Field(description="A corpus or gold.")
    template: ContextsRef = Field(
        description="Where template, task and wiki block come from: an import's contexts.json, a corpus's pinned-contexts.json,"
        " or an upload of contexts."
    )
    name: Name | None = Field(None, description="The dataset to make; empty: the next version of the same.")


class RenderResult(JobResult):
    dataset: str = Field(description="`dataset:<name>@<version>`")
    rows: int
    changed: int = Field(description="Rows whose prompt is another one now.")
    template_versions: list[str] = Field(description="What the rows were rendered with before.")
    template_version: str = Field(description="What they are rendered with now.")
    drift: list[str] = Field(
        description="Contexts of the rows that are others where the template comes from: they stay as the answers were made for."
    )
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL: no model wrote this.")
