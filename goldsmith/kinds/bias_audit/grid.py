"""The questions of an audit: prompts times contexts, and prompts without one."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from goldsmith import privacy, traditions
from goldsmith.adapters import AdapterVersion
from goldsmith.context import JobContext
from goldsmith.devserver.checkout import BUILT_IN, Checkout
from goldsmith.devserver.prompts import fill
from goldsmith.errors import InvalidInput, NotFound
from goldsmith.kinds.bias_audit.schema import BiasAuditConfig, GivenContext, GivenPrompt, Language, Side
from goldsmith.language import language_of
from goldsmith.traditions import Tradition

MOST_ANSWERS = 50_000  # of one arm: hours even on a GPU

T = TypeVar("T")


@dataclass(frozen=True)
class Context:
    id: str
    tradition: str
    side: Side
    texts: dict[str, str]
    words: tuple[str, ...]
    """Words of its tradition, labels left out."""

    def text(self, language: str) -> str:
        """In the prompt's language, else in English, else in the first there is: as live prompts are rendered."""
        return next((self.texts[one] for one in (language, "en") if one in self.texts), next(iter(self.texts.values())))


@dataclass(frozen=True)
class Prompt:
    key: str
    text: str
    language: Language


@dataclass(frozen=True)
class Question:
    key: str
    prompt: Prompt
    context: Context | None
    conversation: list[dict[str, str]]


@dataclass(frozen=True)
class Grid:
    contexts: list[Context]
    prompts: list[Prompt]
    free: list[Prompt]
    left_out: dict[str, str]
    questions: list[Question]
    filled_up: bool
    """Contexts of ours were added to those of the job, which speak of too few traditions."""
    private: bool
    """People wrote the prompts, so that the rules for recorded texts apply to what is sent to a teacher."""


def build(config: BiasAuditConfig, adapter: AdapterVersion, ctx: JobContext) -> Grid:
    """Raises `InvalidInput` for a grid that could not tell one tradition from another."""
    read = _read(config.contexts, ctx) if config.contexts else None
    contexts, left_out = _of_configs(read, config) if read and config.contexts else ([], {})
    contexts += [_given(one) for one in config.given]
    filled_up = not config.given and not _comparable(contexts)
    if filled_up:
        taken = {one.id for one in contexts}
        contexts += [_given(one) for one in _ours() if one.id not in taken]
    _tell_apart(contexts, left_out, config)
    prompts = _prompts(config.prompts, "prompts", config)
    free = _prompts(config.free_prompts, "free_prompts", config)
    for place, one in enumerate(free):
        if found := traditions.recognised(one.text, {traditions.WESTERN: traditions.western().words}):
            raise _invalid("free_prompts", f"{place}: it names {', '.join(found)}", "prompts that name no tradition")
    if len(prompts) * len(contexts) + len(free) > MOST_ANSWERS:
        found_n = len(prompts) * len(contexts) + len(free)
        raise _invalid("prompts", f"{found_n} answers of each model", f"at most {MOST_ANSWERS}; give fewer contexts or prompts")
    frame = read or _trained_with(adapter, ctx) or _built_in()
    return Grid(
        contexts, prompts, free, left_out, _questions(frame, contexts, prompts, free), filled_up=filled_up and bool(config.contexts),
        private=config.prompts is not None or config.free_prompts is not None,
    )  # fmt: skip


def _questions(
    frame: Checkout, contexts: Sequence[Context], prompts: Sequence[Prompt], free: Sequence[Prompt]
) -> list[Question]:
    def question(prompt: Prompt, context: Context | None) -> Question:
        told = context.text(prompt.language) if context else ""
        content = fill(frame.template, task=frame.task, context=told, text=prompt.text)
        key = f"{prompt.key}/{context.id}" if context else prompt.key
        return Question(key, prompt, context, [{"role": "user", "content": content}])

    return [question(prompt, context) for prompt in prompts for context in contexts] + [question(one, None) for one in free]


def _of_configs(checkout: Checkout, config: BiasAuditConfig) -> tuple[list[Context], dict[str, str]]:
    found: list[Context] = []
    left_out: dict[str, str] = {}
    for unknown in config.traditions_of:
        checkout.config(unknown)  # refuses an id that is not there
    for one in checkout.configs:
        told = config.traditions_of.get(one.config_id) or _tradition_of(" ".join([*one.context.values(), *one.name.values()]))
        if isinstance(told, list):
            left_out[one.config_id] = (
                f"names several traditions alike: {', '.join(told)}" if told else "names no tradition of the table"
            )
        else:
            row = _row(told, f"traditions_of.{one.config_id}")
            found.append(Context(one.config_id, told, row.side, dict(one.context), traditions.own_words(row)))
    return found, left_out


def _tradition_of(text: str) -> str | list[str]:
    """The tradition that a context names most words of; the candidates where that is not one."""
    rows = {traditions.WESTERN: traditions.western(), **traditions.table()}
    counts = Counter({name: len(traditions.named(text, row.words)) for name, row in rows.items()})
    most = max(counts.values())
    best = [name for name, count in counts.items() if count == most and most]
    return best[0] if len(best) == 1 else best


def _row(tradition: str, field: str) -> Tradition:
    row = traditions.western() if tradition == traditions.WESTERN else traditions.table().get(tradition)
    if row is None:
        known = ", ".join((traditions.WESTERN, *traditions.table()))
        raise _invalid(
            field, f"the tradition {tradition!r} is not in the table", f"{known}; or a context in `given` with words and side"
        )
    return row


def _given(one: GivenContext) -> Context:
    known = one.tradition == traditions.WESTERN or one.tradition in traditions.table()
    texts: dict[str, str] = dict(one.context.items())
    if not known and one.words and one.side:
        return Context(one.id, one.tradition, one.side, texts, tuple(one.words))
    row = _row(one.tradition, f"given.{one.id}")
    return Context(one.id, one.tradition, one.side or row.side, texts, (*traditions.own_words(row), *one.words))


def _comparable(contexts: Sequence[Context]) -> bool:
    return {"western", "other"} <= {one.side for one in contexts}


def _tell_apart(contexts: Sequence[Context], left_out: dict[str, str], config: BiasAuditConfig) -> None:
    field = "contexts" if config.contexts else "given"
    why = "".join(f"; {name}: {reason}" for name, reason in list(left_out.items())[:5])
    if len({one.tradition for one in contexts}) < 2:
        there = ", ".join(sorted({one.tradition for one in contexts})) or "none"
        raise _invalid(
            field, f"the contexts speak of {there}{why}", "contexts of at least two traditions; see traditions_of and given"
        )
    missing = {"western", "other"} - {one.side for one in contexts}
    if missing:
        raise _invalid(
            field,
            f"no context is of a tradition on the side {' or '.join(sorted(missing))}{why}",
            "at least one western and one other, so that their tones can be compared",
        )
    twice = [name for name, count in Counter(one.id for one in contexts).items() if count > 1]
    if twice:
        raise _invalid("given", f"the id {twice[0]} is a config's, too", "ids that no config has")


def _prompts(given: Sequence[GivenPrompt] | None, field: str, config: BiasAuditConfig) -> list[Prompt]:
    if given is None:
        ours = _ours_of(field)
        return [
            Prompt(f"{field}-{lang}-{place}", text, lang) for lang in config.languages for place, text in enumerate(ours[lang])
        ]
    found: list[Prompt] = []
    for place, one in enumerate(given):
        language = one.language or language_of(one.text)
        if language != "de" and language != "en":
            raise _invalid(f"{field}.{place}", "its language cannot be told from its words", "a language, de or en, beside it")
        if personal := privacy.personal([one.text], language):
            raise _invalid(f"{field}.{place}", f"it holds {personal}", "prompts without")
        if language in config.languages:
            found.append(Prompt(f"{field}-{language}-{place}", one.text, language))
    if not found:
        raise _invalid("languages", f"no prompt of {field} is in {', '.join(config.languages)}", "a language of the prompts")
    return found


def _read(ref: str, ctx: JobContext) -> Checkout:
    allowed = "the contexts.json of an import job that was given a checkout, or an upload of contexts"
    try:
        path = ctx.upload(ref)[1] if ref.startswith("upload:") else ctx.artifact(ref)
        return Checkout.model_validate_json(path.read_bytes())
    except (NotFound, ValidationError) as error:
        raise _invalid(
            "contexts", f"{ref} {'does not exist' if isinstance(error, NotFound) else 'is something else'}", allowed
        ) from error


def _trained_with(adapter: AdapterVersion, ctx: JobContext) -> Checkout | None:
    """Template and task of the rows that the adapter learned from: it is asked as it was taught. None: they are not known."""
    try:
        line = [ctx.dataset(adapter.dataset)]
        for version in line:
            if "contexts" in version.manifest:
                return Checkout.model_validate_json(ctx.artifact(version.manifest["contexts"]).read_bytes())
            line += [ctx.dataset(parent) for parent in version.parents if parent.startswith("dataset:")]
    except NotFound:  # erased or removed since
        return None
    return None


def _built_in() -> Checkout:
    own = tomllib.loads(BUILT_IN.read_text(encoding="utf-8"))
    return Checkout(template=own["template"], task=own["task"], configs=[])


@lru_cache
def _data() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("grid.toml").read_text(encoding="utf-8"))


def _ours() -> list[GivenContext]:
    return [GivenContext(id=name, **one) for name, one in _data()["contexts"].items()]


def _ours_of(field: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = _data()[field]
    return found


def _invalid(field: str, found: str, allowed: str) -> InvalidInput:
    return InvalidInput(
        f"{field}: {found}; allowed is: {allowed}", errors=[{"field": field, "value": found, "allowed": allowed}]
    )
