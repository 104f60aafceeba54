"""What a judge is worth, as results tell it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class CriterionReport(BaseModel):
    """What the judge is worth on one criterion, and what it said."""

    model_config = ConfigDict(extra="forbid")

    counts: bool = Field(description="It told at least 80 % of the planted pairs apart, in both orders and by its scores.")
    pairs: int = Field(description="Planted pairs of this criterion.")
    pairs_right: int = Field(description="Those whose better text it preferred in both orders, by majority.")
    scores_apart: int = Field(description="Those whose better text got 5 or more, and more than the worse one.")
    first_preferred: float | None = Field(description="How often it chose the text that stood first; 0.5 is without bias.")
    mean: float | None = Field(None, description="Mean score of the rows, 0 to 10; worth nothing where `counts` is false.")
    below: int = Field(0, description="Rows that the majority of samples found below 5.")
