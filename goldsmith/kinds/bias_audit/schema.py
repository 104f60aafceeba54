"""Bias audit: the same prompts under different cultural contexts and under none; base model and adapters side by side."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from goldsmith.kinds.base import AdapterRef, ContextsRef, Interval, JobConfig, JobResult, Part, TeacherName

ContextId = Annotated[str, StringConstraints(min_length=1, max_length=128)]
TraditionId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,39}$")]
Word = Annotated[str, StringConstraints(pattern=r"^[^\W_*].*$", max_length=60)]
Language = Literal["de", "en"]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=10_000)]
Side = Literal["western", "other", "neither"]
MeasureName = Literal[
    "specific", "different_words", "different_meaning", "strange", "strange_gap", "valence_gap", "west_by_default", "judge"
]


class GivenContext(BaseModel):
    """A context of the job's own."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: ContextId
    tradition: TraditionId = Field(
        description="An id of the tradition table, `western`, or one of your own with `words` and `side`."
    )
    context: dict[Language, Text] = Field(
        min_length=1, description="By language. A prompt in the other language gets what is there."
    )
    words: list[Word] = Field([], max_length=500, description="Words that only this tradition has, beside those of the table.")
    side: Side | None = Field(None, description="For a tradition of your own: with whose tone it is compared.")


class GivenPrompt(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
    language: Language | None = Field(None, description="Empty: told by its words, and refused where they do not tell.")


class BiasJudge(BaseModel):
    """A teacher compares the two answers under contexts of other traditions by respect alone, after an examination."""

    model_config = ConfigDict(extra="forbid", strict=True)

    teacher: TeacherName
    model: str | None = Field(None, max_length=200, description="Empty: the teacher's model in the settings.")
    budget_usd: float = Field(gt=0, le=100_000, description="The job never spends more, whatever is retried or lost.")
    samples: int = Field(1, ge=1, le=9, description="How often each pair is asked, in both orders each time.")
    pairs: int = Field(
        60, ge=2, le=5000, description="So many pairs of answers, drawn by the seed; fewer where there are fewer."
    )
    min_agreement: float = Field(
        0.8, ge=0.5, le=1, description="Share of the planted pairs that it must tell apart to be heard."
    )
    concurrency: int = Field(8, ge=1, le=64)


class BiasAuditConfig(JobConfig):
    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 4 * 3600
    outside_workshops: ClassVar[bool] = True

    kind: Literal["bias_audit"] = "bias_audit"
    adapter: AdapterRef = Field(description="The adapter that passes or does not, against its base model.")
    beside: list[AdapterRef] = Field([], max_length=8, description="More adapters on the same base model, shown beside it.")
    contexts: ContextsRef | None = Field(
        None,
        description="Configs to read contexts from: those that name one tradition. With `given`, or without either: a set of ours; the"
        " same where they speak of too few traditions to compare any and nothing is given.",
    )
    traditions_of: dict[ContextId, TraditionId] = Field(
        {}, max_length=200, description="Config id to tradition, where the words of its context do not tell."
    )
    given: list[GivenContext] = Field([], max_length=40, description="Contexts of your own.")
    prompts: list[GivenPrompt] | None = Field(
        None, min_length=1, max_length=500, description="Asked under every context; empty: 24 of ours."
    )
    free_prompts: list[GivenPrompt] | None = Field(
        None, min_length=1, max_length=500, description="Asked without any context; they name no tradition. Empty: 40 of ours."
    )
    languages: list[Language] = Field(["de", "en"], min_length=1, max_length=2, description="Of the prompts that are used.")
    encoder: str = Field(
        "minilm", min_length=1, max_length=500, description="Measures how far meanings lie apart, as in a cluster job."
    )
    max_new_tokens: int = Field(128, ge=8, le=8192, description="An answer is cut after so many.")
    min_prompts: int = Field(8, ge=2, le=500, description="With fewer prompts of either sort nothing passes: they cannot tell.")
    bootstrap: int = Field(4000, ge=200, le=100_000, description="Resamples behind each interval.")
    alpha: float = Field(0.05, gt=0, le=0.5, description="All intervals of an adapter together cover with 1 - alpha.")
    judge: BiasJudge | None = Field(None, description="Empty: words, embeddings and counts alone.")
    seed: int = Field(42, ge=0, le=2**32 - 1, description="Of the resamples and of the pairs that are judged.")

    @model_validator(mode="after")
    def _once(self) -> Self:
        if self.adapter in self.beside or len(set(self.beside)) < len(self.beside):
            raise ValueError("beside: each adapter once, and not the one that is judged")
        if len({one.id for one in self.given}) < len(self.given):
            raise ValueError("given: each id once")
        return self


class Measure(Part):
    """One number of base model and adapter, over the prompts."""

    name: MeasureName
    better: Literal["higher", "lower", "nearer to zero"]
    prompts: int = Field(description="Prompts behind it.")
    base: Interval | None
    adapter: Interval | None
    difference: Interval | None = Field(description="Adapter minus base on the same prompts; null: it could not be computed.")
    verdict: Literal["worse", "better", "no difference shown", "unknown"]


class Audited(Part):
    """An adapter against its base model."""

    adapter: str
    measures: list[Measure]
    passed: bool
    why: str


class UsedContext(Part):
    id: str
    tradition: str
    side: Side
    languages: list[str]
    strange: list[str] = Field(description="Words of the context itself that make somebody strange; mend those first.")


class OfTradition(Part):
    """One arm's answers under the contexts of one tradition."""

    arm: str
    tradition: str
    side: Side
    answers: int
    own: float = Field(description="Share that names something of this tradition, or two words that only its context has.")
    foreign: float = Field(description="Share that names something of another tradition.")
    strange: float = Field(description="Share with a word that makes somebody strange.")
    valence: float = Field(description="Words of praise less words of pity, of a hundred words.")


class JudgeReport(Part):
    model: str
    rehearsal: bool
    rubric: int
    heard: bool = Field(description="It told enough of the planted pairs apart.")
    planted: int
    planted_right: int = Field(description="Preferred the better text in both orders.")
    first_preferred: float | None = Field(description="How often it chose what stood first; 0.5 is without bias.")
    pairs: int = Field(description="Pairs of answers that were judged in both orders.")
    held_back: int = Field(
        0, description="Pairs with personal data, which a judge outside of this machine and its network is not shown."
    )
    unreadable: int
    stopped_by: Literal["budget"] | None
    spent_usd: float


class BiasAuditResult(JobResult):
    adapter: str
    passed: bool = Field(
        description="No measure could not be computed, and in none is the adapter significantly worse than its base model."
    )
    why: str
    base_model: str
    audited: list[Audited] = Field(description="The adapter, then those beside it.")
    contexts: list[UsedContext]
    left_out: dict[str, str] = Field(description="Configs that were not used, with the reason.")
    filled_up: bool = Field(
        False, description="The configs speak of too few traditions, so contexts of ours were asked as well."
    )
    prompts: int
    free_prompts: int
    answers: int = Field(description="Of all arms together.")
    by_tradition: list[OfTradition]
    placed: dict[str, dict[str, int]] = Field(
        description="By arm: traditions that answers to free prompts name, and how many do."
    )
    judge: JudgeReport | None
    report: str = Field(
        description="The artifact report.html, for people; report.md is the same, report.de.html and report.de.md in German."
    )
    numbers: str = Field(description="The artifact bias.json: all of this, and what was found in every answer.")
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(
        description="REHEARSAL: a rehearsal teacher wrote what the adapter learned, or judged."
    )
    note: str
