"""The held-out rows with all that judging an answer to them needs."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from goldsmith import gates
from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.datasets import DatasetVersion, Example
from goldsmith.devserver.checkout import Checkout
from goldsmith.errors import InvalidInput
from goldsmith.kinds.evaluate.schema import EvaluateConfig


@dataclass(frozen=True)
class Row:
    """One held-out prompt. `prompt` and `gold` are conversations, without and with the teacher's answer."""

    example: Example
    context: str
    task: str
    min_words: int
    max_words: int

    @property
    def prompt(self) -> list[dict[str, str]]:
        return self.gold[:-1]

    @property
    def gold(self) -> list[dict[str, str]]:
        return [message.model_dump() for message in self.example.messages]

    def failed(self, answer: str) -> dict[str, str]:
        """The gates that an answer fails, with the reasons."""
        checked = gates.check(
            answer,
            input=self.example.input,
            context=self.context,
            language=self.example.language,
            min_words=self.min_words,
            max_words=self.max_words,
            task=self.task,
        )
        return {rule: reason for rule, reason in checked.items() if reason is not None}


def read(config: EvaluateConfig, dataset: DatasetVersion, ctx: JobContext) -> list[Row]:
    """The held-out rows, or `config.limit` of them drawn by the seed, in the dataset's order."""
    examples = list(ctx.examples(config.dataset, "heldout"))
    if not examples:
        raise InvalidInput(f"dataset: {dataset.ref} has no heldout rows")
    unanswered = [example.source for example in examples if example.messages[-1].role != "assistant"]
    if unanswered:
        raise InvalidInput(f"dataset: {len(unanswered)} heldout rows of {dataset.ref} have no answer; evaluate on gold")
    if config.limit is not None and config.limit < len(examples):
        drawn = random.Random(config.seed).sample(range(len(examples)), config.limit)  # noqa: S311 - reproducible on purpose
        examples = [examples[row] for row in sorted(drawn)]
    checkout = _checkout(dataset, ctx)
    shortest, longest = _words(config, dataset)
    return [Row(example, _context(checkout, example), checkout.task, shortest, longest) for example in examples]


def _datasets(adapter: AdapterVersion, ctx: JobContext) -> set[str]:
    """What it was trained on; a merge on all that its parents were."""
    if not adapter.parents:
        return {adapter.dataset}
    return set().union(*(_datasets(ctx.adapter(ref), ctx) for ref in adapter.parents))


def refuse_trained(rows: Iterable[Row], adapter: AdapterVersion, dataset: DatasetVersion, ctx: JobContext) -> None:
    """Raise `InvalidInput` when the adapter was trained on a prompt that it is now examined with."""
    learned_from = _datasets(adapter, ctx) - {dataset.ref}
    trained = {example.input for ref in learned_from for example in ctx.examples(ref, "train")}
    known = {row.example.input for row in rows} & trained
    if known:
        raise InvalidInput(
            f"dataset: {adapter.ref} was trained on {len(known)} of the held-out prompts of {dataset.ref}"
            f" ({', '.join(sorted(learned_from))});"
            " evaluate on the dataset that it was trained on, or on one that shares none"
        )


def _checkout(dataset: DatasetVersion, ctx: JobContext) -> Checkout:
    """The contexts that the prompts were rendered from: named by the corpus that the gold descends from."""
    line = [dataset]
    for version in line:
        if "contexts" in version.manifest:
            return Checkout.model_validate_json(ctx.artifact(version.manifest["contexts"]).read_bytes())
        line += [ctx.dataset(parent) for parent in version.parents if parent.startswith("dataset:")]
    raise InvalidInput(f"dataset: neither {dataset.ref} nor its parents name the contexts of their prompts")


def _context(checkout: Checkout, example: Example) -> str:
    config = checkout.config(example.config_id)
    if config.context_sha256(example.context_lang) != example.context_sha256:
        raise InvalidInput(
            f"dataset: the context {example.config_id} ({example.context_lang}) is not the one that {example.source} was"
            f" rendered with: expected sha256 {example.context_sha256}, found {config.context_sha256(example.context_lang)}"
        )
    return config.context[example.context_lang]


def _words(config: EvaluateConfig, dataset: DatasetVersion) -> tuple[int, int]:
    checked: Mapping[str, int] = dataset.manifest.get("config", {})
    shortest = config.min_words if config.min_words is not None else checked.get("min_words")
    longest = config.max_words if config.max_words is not None else checked.get("max_words")
    if shortest is None or longest is None:
        raise InvalidInput(f"min_words, max_words: {dataset.ref} does not say how long its answers had to be; give both")
    return shortest, longest
