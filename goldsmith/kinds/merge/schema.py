"""Merge: the weighted sum of several adapters on one base model, as one adapter; exact, or cut to a rank."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from goldsmith.kinds.base import AdapterRef, JobConfig, JobResult, Name

EXACT = 1e-5  # float32 leaves about 1e-7


class MergeConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "cpu"
    isolated: ClassVar[bool] = True

    kind: Literal["merge"] = "merge"
    adapters: list[AdapterRef] = Field(
        min_length=2, max_length=16, description="LoRA adapters on the same base model, tokenizer and chat template; each once."
    )
    weights: list[Annotated[float, Field(ge=-100, le=100)]] | None = Field(
        None, description="One for each adapter, in their order; empty: 1 / their number, their mean."
    )
    method: Literal["cat", "svd"] = Field(
        "cat",
        description="cat: the exact sum, its rank is the sum of theirs; svd: the nearest adapter of `rank` to that sum.",
    )
    rank: int | None = Field(None, ge=1, le=1024, description="Of the result of svd.")
    max_relative_error: float | None = Field(
        None,
        gt=0,
        le=1,
        description="The job fails when a module's update is further from the weighted sum of its parents' (Frobenius norm, relative"
        " to the sum). Empty: 1e-5 for cat, none for svd, which reports it.",
    )
    name: Name = Field(description="The adapter to make; an existing one gets its next version.")
    alias: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,63}$")] | None = Field(
        None, description="Moved to the new version, such as challenger."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.adapters):
            raise ValueError(f"weights: {len(self.weights)} for {len(self.adapters)} adapters; one for each is needed")
        if self.weights is not None and not any(self.weights):
            raise ValueError("weights: all are 0; at least one must not be")
        if (self.method == "svd") != (self.rank is not None):
            raise ValueError("rank: svd needs one" if self.method == "svd" else "rank: only svd has one; cat adds up the ranks")
        return self


class MergeResult(JobResult):
    adapter: str = Field(description="`adapter:<name>@<version>`")
    parents: list[str]
    weights: list[float]
    method: Literal["cat", "svd"]
    base_model: str
    rank: int = Field(description="Of the result, in every module.")
    modules: int = Field(description="Linear maps that it changes: all that one of its parents changes.")
    max_relative_error: float = Field(
        description="Of the module furthest from the weighted sum of its parents' updates, read back from the saved file."
    )
    mean_relative_error: float
    report: str = Field(description="`job:<id>/merge.json`: the error of each module.")
    rehearsal: bool
    label: str = Field(description="REHEARSAL when a parent was trained on a rehearsal teacher's answers, else empty.")
