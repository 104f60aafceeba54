"""What an import is asked, and what it answers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from goldsmith.devserver.files import Skipped
from goldsmith.kinds.base import JobConfig, JobResult

SKIPPED_SHOWN = 1000


class ImportConfig(JobConfig):
    """Reads a folder of recorded runs, and the configs that they were made with."""

    kind: Literal["import"] = "import"
    folder: str = Field(
        min_length=1, max_length=1000, description="The export: a folder that holds exports/json, or that folder itself."
    )
    checkout: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="A devserver checkout, whose template, task and contexts become the artifact contexts.json.",
    )


class ImportResult(JobResult):
    runs: int = Field(ge=1, description="Runs that this import has, those that must not be trained on included.")
    unchanged: int = Field(
        0, ge=0, description="Runs among them whose rows an earlier import had written: they were not written again."
    )
    may_train: int = Field(ge=0, description="Runs among them that may be used for training.")
    by_config: dict[str, int] = Field(description="Config id to runs that may be used.")
    by_language: dict[str, int] = Field(description='Language of the input ("de", "en", "unknown") to runs that may be used.')
    excluded: dict[str, int] = Field(description="Reason to runs that were saved without their texts and must not be used.")
    favourites: int = Field(ge=0, description="Favourites of runs that may be used.")
    user_edits: int = Field(ge=0, description="Edits by users in runs that may be used.")
    feedback: dict[str, int] = Field(
        default_factory=dict,
        description="Signal (favorite, user_edit, export, regeneration, abandon, …) to rows, of runs that may be used.",
    )
    skipped: list[Skipped] = Field(
        max_length=SKIPPED_SHOWN, description="What could not be read or used, and why; all of it is in skipped.json."
    )
    skipped_total: int = Field(ge=0, description="How many there are in skipped.json.")
    contexts: str | None = Field(description="`job:<id>/contexts.json`, the checkout as it was read; null when none was given.")
    configs: list[str] = Field(description="Ids of the configs in it.")
