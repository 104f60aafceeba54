"""What a golden job is asked, and what it says in the end."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from goldsmith.kinds.base import ContextsRef, DatasetRef, JobConfig, JobResult, Name, Part, Reference, UploadRef


class GoldenConfig(JobConfig):
    """Freeze prompts and what is expected of their answers into a dataset version that is never trained on, only evaluated on."""

    kind: Literal["golden"] = "golden"
    name: Name = Field(description="Name of the dataset that is made.")
    upload: Annotated[UploadRef, Reference("upload", kind="golden")] | None = Field(
        None, description="A golden set, uploaded with `kind=golden`: `upload:<id>`; this or `dataset`."
    )
    dataset: DatasetRef | None = Field(
        None, description="Gold whose held-out rows become the set, with the teacher's answers as references; this or `upload`."
    )
    contexts: ContextsRef | None = Field(
        None,
        description="Of an upload: the template and contexts that rows with a `config_id` and no `messages` are asked with.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.upload is None) == (self.dataset is None):
            raise ValueError("upload: exactly one of upload and dataset says where the rows come from")
        if self.contexts is not None and self.upload is None:
            raise ValueError("contexts: are for an upload; the rows of a dataset have theirs")
        return self


class PersonalData(Part):
    rows: int = Field(description="Rows with any.")
    by_kind: dict[str, int] = Field(description="Rows by kind, such as `name` or `email`.")
    lines: list[int] = Field(description="Of an upload: the first lines with any.")
    search: str = Field(description="Version of the search.")


class GoldenResult(JobResult):
    dataset: str = Field(description="`dataset:<name>@<version>`")
    content_sha256: str = Field(description="Of the rows, with where they come from: one upload has one hash.")
    rows: int
    groups: int = Field(description="Independent sets of rows; intervals are drawn over these.")
    expected: dict[str, int] = Field(
        description="Rows by what they expect; `reference`: a teacher's answer, not the only right one."
    )
    by_config: dict[str, int] = Field(description="Rows by config; those without one under an empty key.")
    by_language: dict[str, int]
    duplicates: int = Field(description="Lines left out because another asks and expects the same.")
    personal_data: PersonalData | None = Field(
        None,
        description="What was found in the prompts and expected texts. The rows are kept; a judge elsewhere is not shown them.",
    )
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL when a rehearsal teacher wrote the references, else empty.")
