"""What a corpus job is asked, and what it answers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from goldsmith.kinds.base import ArtifactRef, JobConfig, JobRef, JobResult, Name, Reference


class CorpusConfig(JobConfig):
    """Recorded prompts times configs, frozen as a dataset whose held-out part shares no prompt and no template with train."""

    timeout_s: ClassVar[int] = 1800

    kind: Literal["corpus"] = "corpus"
    name: Name = Field(description="The dataset to make; an existing one gets its next version.")
    runs: Annotated[JobRef, Reference("job", kind="import")] = Field(
        description="The import job whose runs are used: those that may be trained on."
    )
    contexts: ArtifactRef | None = Field(
        None, description="Template and configs to render with; default: the import job's own."
    )
    configs: list[str] | None = Field(None, min_length=1, max_length=500, description="Config ids to use; default: all.")
    configs_per_prompt: int = Field(
        3, ge=1, le=50, description="Configs that each prompt is rendered with, its own first; all where there are fewer."
    )
    heldout_fraction: float = Field(0.2, ge=0.05, le=0.5, description="Share of the prompts to hold out.")
    # Measured on 69 German and English prompts of a workshop: any two of them are at most 0.14 alike; with one word replaced,
    # 99 % stay at least 0.50 like themselves; with a word left out 0.58, a word added 0.69, a typo 0.71.
    near_duplicate_threshold: float = Field(
        0.5, ge=0.3, le=1, description="Prompts are nearly the same from this Jaccard similarity of their character 4-grams on."
    )
    min_words: int = Field(2, ge=1, le=999, description="Shorter prompts are left out. The default is a guess: mostly trials.")
    max_words: int = Field(150, ge=1, le=5000, description="Longer prompts are left out. The default is a guess: pasted text.")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="Decides which groups are held out and who gets which config.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_words > self.max_words:
            raise ValueError(f"min_words: {self.min_words} is above max_words {self.max_words}")
        if self.configs is not None and len(set(self.configs)) < len(self.configs):
            raise ValueError(f"configs: names {sorted({each for each in self.configs if self.configs.count(each) > 1})} twice")
        return self


class SplitCounts(BaseModel):
    model_config = ConfigDict(extra="forbid")

    prompts: int
    examples: int
    groups: int


class LeakCheck(BaseModel):
    """Counted anew on the finished rows; a corpus with a leak is never saved."""

    model_config = ConfigDict(extra="forbid")

    shared_prompts: int = Field(description="Texts on both sides, but for case, punctuation and spacing: 0.")
    shared_templates: int = Field(description="Sentence templates on both sides: 0.")
    shared_groups: int = Field(description="Groups on both sides: 0.")
    max_similarity: float = Field(description="Highest Jaccard similarity across the split: below the threshold.")


class CorpusResult(JobResult):
    dataset: str = Field(description="`dataset:<name>@<version>`")
    report: str = Field(description="The artifact `corpus.json`: this result, the config and the ids of the runs left out.")
    prompts: int
    examples: int
    groups: int = Field(description="Sets of prompts that share a template or are nearly the same.")
    largest_group: int = Field(description="Prompts in the largest of them.")
    duplicates: int = Field(description="Runs whose text another run has too; they are merged.")
    by_split: dict[str, SplitCounts]
    by_config: dict[str, dict[str, int]] = Field(description="Examples of each config, by split.")
    by_language: dict[str, dict[str, int]] = Field(description="Prompts of each language, by split.")
    dropped: dict[str, int] = Field(description="Runs left out, by reason.")
    leak_check: LeakCheck
