"""The prompts of an evaluation with all that judging an answer to them needs."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from goldsmith import gates, golden
from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion, Example
from goldsmith.devserver.checkout import Checkout
from goldsmith.errors import InvalidInput
from goldsmith.golden import Expectation
from goldsmith.kinds.evaluate.schema import EvaluateConfig


@dataclass(frozen=True)
class Row:
    """One prompt that no adapter was trained on."""

    example: Example
    context: str
    """Empty where the prompt was not rendered from a devserver's template."""
    task: str
    expectation: Expectation | None
    """None of a row of gold: its answer is a good one, not the only one."""
    min_words: int
    max_words: int

    @property
    def prompt(self) -> list[dict[str, str]]:
        turns = [message.model_dump() for message in self.example.messages]
        return turns[:-1] if self.example.messages[-1].role == "assistant" else turns

    @property
    def gold(self) -> list[dict[str, str]] | None:
        """The conversation with the expected answer; None where there is no such text."""
        turns = [message.model_dump() for message in self.example.messages]
        return turns if self.example.messages[-1].role == "assistant" else None

    @property
    def references(self) -> list[str]:
        if self.expectation is not None:
            return self.expectation.expected or []
        return [self.example.messages[-1].content]

    @property
    def gated(self) -> bool:
        return self.expectation is None or self.expectation.rules is not None

    def failed(self, answer: str) -> dict[str, str]:
        """The gates that an answer fails, with the reasons; empty where the gates have no say."""
        if not self.gated:
            return {}
        language = self.example.language
        checked = gates.check(
            answer,
            input=self.example.input,
            context=self.context,
            language=None if language == "und" else language,
            min_words=self.min_words,
            max_words=self.max_words,
            task=self.task,
        )
        return {rule: reason for rule, reason in checked.items() if reason is not None}


def read(config: EvaluateConfig, dataset: DatasetVersion, ctx: JobContext) -> list[Row]:
    """The held-out rows, or `config.limit` of them drawn by the seed, in the dataset's order."""
    examples = list(ctx.examples(config.dataset, "heldout"))
    if not examples:
        raise _refused(dataset, f"{dataset.ref} has no heldout rows")
    unanswered = [one.source for one in examples if one.messages[-1].role != "assistant" and one.expect is None]
    if unanswered:
        raise _refused(
            dataset, f"{len(unanswered)} heldout rows of {dataset.ref} have no answer; evaluate on gold or on a golden set"
        )
    if config.limit is not None and config.limit < len(examples):
        drawn = random.Random(config.seed).sample(range(len(examples)), config.limit)  # noqa: S311 - reproducible on purpose
        examples = [examples[row] for row in sorted(drawn)]
    expectations = [golden.expectation_of(one.expect, dataset.ref) if one.expect is not None else None for one in examples]
    checkout = _checkout(dataset, ctx) if any(example.context_sha256 for example in examples) else None
    known = _words(config, dataset, needed=None in expectations)
    rows = []
    for example, expectation in zip(examples, expectations, strict=True):
        lengths = (expectation.rules.min_words, expectation.rules.max_words) if expectation and expectation.rules else known
        context = _context(checkout, example) if checkout is not None and example.context_sha256 else ""
        rows.append(Row(example, context, checkout.task if checkout and context else "", expectation, *lengths))
    return rows


def _datasets(adapter: AdapterVersion, ctx: JobContext) -> set[str]:
    """What it was trained on; a merge on all that its parents were."""
    if not adapter.parents:
        return {adapter.dataset}
    return set().union(*(_datasets(ctx.adapter(ref), ctx) for ref in adapter.parents))


def refuse_trained(rows: Sequence[Row], adapter: AdapterVersion, dataset: DatasetVersion, ctx: JobContext) -> None:
    """Raise `InvalidInput` when the adapter was trained on a prompt that it is now examined with."""
    learned_from = _datasets(adapter, ctx) - {dataset.ref}
    inputs: set[str] = set()
    conversations: set[tuple[tuple[str, str], ...]] = set()
    for ref in learned_from:
        for example in ctx.examples(ref, "train"):
            inputs |= {_plain(example.input), _plain(example.original)}
            conversations.add(example.asked)
    known = [row for row in rows if _asked(row) in conversations or (_is_one_turn(row) and _plain(row.example.input) in inputs)]
    if known:
        raise _refused(
            dataset,
            f"{adapter.ref} was trained on {len({row.example.input for row in known})} of the held-out prompts of {dataset.ref}"
            f" ({', '.join(sorted(learned_from))}), such as that of {known[0].example.source};"
            " evaluate on the dataset that it was trained on, or on one that shares none",
        )


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _asked(row: Row) -> tuple[tuple[str, str], ...]:
    return tuple((turn["role"], _plain(turn["content"])) for turn in row.prompt)


def _is_one_turn(row: Row) -> bool:
    """Of a longer conversation the last words alone, such as `go on`, are no prompt."""
    return sum(turn["role"] == "user" for turn in row.prompt) == 1


def _checkout(dataset: DatasetVersion, ctx: JobContext) -> Checkout:
    """The contexts that the prompts were rendered from: named by the corpus that the gold descends from."""
    line = [dataset]
    for version in line:
        if "contexts" in version.manifest:
            return Checkout.model_validate_json(ctx.artifact(version.manifest["contexts"]).read_bytes())
        line += [ctx.dataset(parent) for parent in version.parents if parent.startswith("dataset:")]
    raise _refused(dataset, f"neither {dataset.ref} nor its parents name the contexts of their prompts")


def _context(checkout: Checkout, example: Example) -> str:
    config = checkout.config(example.config_id)
    if config.context_sha256(example.context_lang) != example.context_sha256:
        raise InvalidInput(
            f"dataset: the context {example.config_id} ({example.context_lang}) is not the one that {example.source} was"
            f" rendered with: expected sha256 {example.context_sha256}, found {config.context_sha256(example.context_lang)}"
        )
    return config.context[example.context_lang]


def _words(config: EvaluateConfig, dataset: DatasetVersion, *, needed: bool) -> tuple[int, int]:
    checked: Mapping[str, int] = dataset.manifest.get("config", {})
    shortest = config.min_words if config.min_words is not None else checked.get("min_words")
    longest = config.max_words if config.max_words is not None else checked.get("max_words")
    if needed and (shortest is None or longest is None):
        raise InvalidInput(f"min_words, max_words: {dataset.ref} does not say how long its answers had to be; give both")
    return shortest or 0, longest or 0


def groups(rows: Iterable[Row]) -> list[str]:
    return [row.example.group for row in rows]


def _refused(dataset: DatasetVersion, why: str) -> InvalidInput:
    return InvalidInput(f"dataset: {why}", errors=[{"field": "dataset", "value": dataset.ref, "message": why}])
