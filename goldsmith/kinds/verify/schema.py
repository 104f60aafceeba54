"""Verify: whether an expert beats its base model on held-out questions, and which of its epochs does."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from goldsmith.kinds.base import JobConfig, JobRef, JobResult, Name, Reference, TeacherName


class VerifyConfig(JobConfig):
    """Choose an expert's epoch and gate it by a judge's grades (UNO, arXiv 2602.06470, section 3.4), within a budget."""

    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "gpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 6 * 3600
    outside_workshops: ClassVar[bool] = True

    kind: Literal["verify"] = "verify"
    train: Annotated[JobRef, Reference("job", kind="train")] = Field(description="The training, which kept its epochs.")
    name: Name | None = Field(
        None, description="The adapter whose next version the chosen epoch becomes; empty: the trained one."
    )
    alias: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9._-]{0,63}$")] | None = Field(
        None, description="Moved to that version when it passes, and only then."
    )
    teacher: TeacherName
    model: str | None = Field(None, max_length=200, description="The judge; empty: the teacher's model in the settings.")
    budget_usd: float = Field(gt=0, le=100_000, description="The job never spends more, whatever is retried or lost.")
    concurrency: int = Field(8, ge=1, le=64, description="Questions to the judge in flight.")
    gate: Literal["halves", "reference"] = Field(
        "halves",
        description="halves: choose the epoch on one half of the held-out rows, pass when the lower bound of its win rate on the"
        " other half reaches win_rate_min. reference: as UNO's code does, choose and gate on all rows by the win rate itself, which"
        " a coin passes mostly.",
    )
    win_rate_min: float = Field(0.53, ge=0, le=1)
    at_win_rate_min: Literal["passes", "fails"] = Field(
        "passes",
        description="For gate reference: a win rate of exactly win_rate_min passes in UNO's code and fails in its paper.",
    )
    confidence: float = Field(0.95, ge=0.5, lt=1, description="Of the one-sided lower bound, and of the two-sided interval.")
    bleu_min: float = Field(
        0.05, ge=0, le=1, description="An answer with no more BLEU-4 than this against the base model's cannot win: nobody's"
        " wish explains it, only the judge's taste."
    )  # fmt: skip
    bleu_tokenizer: Literal["unspaced", "reference"] = Field(
        "unspaced",
        description="unspaced: words between spaces, characters in scripts without spaces. reference: as UNO's code, by jieba where"
        " there is a Chinese character, else between spaces, so that a Thai answer is one token.",
    )
    barred: Literal["no_win", "removed"] = Field(
        "no_win",
        description="Answers that are barred by BLEU or length. no_win: they stay in the number of rows, as in UNO's code; removed:"
        " they leave it, as in section 3.4 of the paper, and the win rates of two epochs are then over different rows.",
    )
    length_min: float = Field(0.1, ge=0, le=1, description="Nor can one shorter than this share of the base model's answer.")
    min_heldout: int = Field(
        10,
        ge=2,
        le=1_000_000,
        description="Fewer held-out rows are not gated: nothing is generated, nothing passes. With half of 10, all must be won.",
    )
    judge_samples: int = Field(3, ge=1, le=10, description="Grades of an answer, the first greedy; their mean counts.")
    temperature: float = Field(0.1, ge=0, le=2, description="Of the base model's and the adapters' answers.")
    max_new_tokens: int = Field(512, ge=1, le=8192, description="Of an answer.")
    seed: int = Field(42, ge=0, le=2**31 - 1, description="Of the halves and of the answers.")


class EpochReport(BaseModel):
    model_config = ConfigDict(extra="forbid")

    epoch: int
    win_rate: float = Field(description="On the rows that the epoch is chosen on.")
    n: int = Field(description="Those rows; barred ones included unless they are removed.")
    wins: int
    ties: int
    losses: int = Field(description="Barred and ungraded answers among them.")
    barred_by_bleu: int
    barred_by_length: int
    ungraded: int = Field(description="Answers of which no grade could be read.")


class VerifyResult(JobResult):
    adapter: str | None = Field(description="The chosen epoch as `adapter:<name>@<version>`, whether it passed or not.")
    role: Literal["expert"] = "expert"
    passed: bool
    why: str = Field(description="What the gate said, in words.")
    train: str
    dataset: str
    base_model: str
    gate: Literal["halves", "reference"] = Field(description="By which rule.")
    epochs: list[EpochReport] = Field(description="Every epoch, on the rows that one is chosen on.")
    chosen: int | None = Field(
        description="The epoch of the highest win rate, of equals the earliest; null: none won anything."
    )
    win_rate: float | None = Field(description="Of the chosen epoch on the rows that gate, ties half.")
    interval: tuple[float, float] | None = Field(description="Of that win rate, two-sided.")
    lower_bound: float | None = Field(
        description="One-sided. After a choice on the same rows (gate: reference) it does not hold."
    )
    win_rate_min: float
    at_win_rate_min: Literal["passes", "fails"]
    barred: Literal["no_win", "removed"] = Field(description="What became of barred answers.")
    confidence: float
    needed: float | None = Field(description="The fewest points of n_gate that pass, a tie being half; null: none are enough.")
    heldout: int = Field(description="Held-out rows of the dataset.")
    left_out: int = Field(description="Of those, too long for the base model together with an answer; nothing is cut.")
    without_base_grade: int = Field(description="Of those, left out because the base model's own answer could not be graded.")
    n_choose: int
    n_gate: int
    barred_by_bleu: int = Field(description="On the rows that gate, of the chosen epoch.")
    barred_by_length: int
    ungraded: int
    bleu_min: float
    bleu_tokenizer: Literal["unspaced", "reference"]
    without_rules: int = Field(description="Rows that no rule was found for: judged by one sentence for all.")
    graded: int = Field(description="Answers that were given to the judge.")
    bad_json: int = Field(description="Grades that were not the JSON asked for; each was asked for once more.")
    clamped: int = Field(description="Grades below 1 or above 10.")
    spent_usd: float = Field(description="What the job has spent, earlier attempts and lost calls included.")
    stopped_by: Literal["budget"] | None = Field(description="Why not everything was graded; nothing passes then.")
    teacher: str
    model: str
    report: str = Field(description="The artifact `verify.json`: answers, grades and points of every row.")
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL: a rehearsal teacher graded, or wrote what was learned.")
