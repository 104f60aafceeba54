"""What a corpus asks of a teacher: prompts of presets, and translations. Both end when the budget does."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

from goldsmith import privacy
from goldsmith.kinds.corpus import presets
from goldsmith.kinds.corpus.prompts import Dropped, Prompt
from goldsmith.kinds.corpus.schema import CorpusConfig, Preset
from goldsmith.kinds.corpus.words import normal, words
from goldsmith.language import language_of
from goldsmith.teacher import Answer, BudgetReached, NotAnswered, Teacher
from goldsmith.teacher.bounded import for_each
from goldsmith.traditions import table

CONCURRENCY = 4
TRIES = 3  # questions for each that would be needed if every answer were usable

TRANSLATE = """
You translate what children typed into English, for a picture: the same things, the same tone, the same length; nothing \
explained, nothing made prettier. Names of things that have no English word stay as they are."""
TRANSLATION = {
    "type": "object",
    "properties": {"translation": {"type": "string"}},
    "required": ["translation"],
    "additionalProperties": False,
}
NOT_TRANSLATED = "not translated: the budget was reached"


@dataclass
class Spent:
    """What the teachers of a job cost, and whether the budget ended first."""

    usd: float = 0.0
    saved_usd: float = 0.0
    out_of_budget: bool = False
    rehearsal: bool = False

    def of(self, teacher: Teacher) -> None:
        self.usd = max(self.usd, teacher.spent_usd)  # of the job, whichever teacher is asked
        self.saved_usd += teacher.saved_usd
        self.rehearsal = self.rehearsal or teacher.rehearsal


@dataclass
class _Wanted:
    """What is still to be made of one preset, or of one of its traditions."""

    preset: Preset
    number: int
    tradition: str = ""
    asked: int = 0
    texts: dict[str, Prompt] = field(default_factory=dict)

    def draws(self, seed: int) -> list[presets.Draw]:
        """The next questions; none when there is enough, or enough was asked."""
        short = self.number - len(self.texts)
        size = min(presets.AT_ONCE, self.number)
        most = TRIES * ceil(self.number / size) + 1
        numbers = range(self.asked, min(most, self.asked + ceil(max(0, short) / size)))
        self.asked += len(numbers)
        return [presets.draw(self.preset, number, size, seed, self.tradition) for number in numbers]


async def make(
    config: CorpusConfig,
    teacher: Teacher,
    covered: Counter[str],
    spent: Spent,
    dropped: Dropped,
    tell: Callable[[float, str], None],
) -> list[Prompt]:
    """The prompts of all presets that a teacher writes. `covered`: how often each tradition is named already."""
    wanted = [
        _Wanted(preset, number) for preset, number in config.presets.items() if preset not in ("anti_default", "traditions")
    ]
    shares = presets.shared_out(config.presets.get("traditions", 0), covered, table())
    wanted += [_Wanted("traditions", number, tradition) for tradition, number in shares.items()]
    by_item = {(each.preset, each.tradition): each for each in wanted}
    total = sum(each.number for each in wanted)

    while not spent.out_of_budget and (draws := [one for each in wanted for one in each.draws(config.seed)]):
        answers: dict[presets.Draw, Answer] = {}

        async def ask(draw: presets.Draw, answers: dict[presets.Draw, Answer] = answers) -> bool:
            try:
                answers[draw] = await teacher.ask(
                    item=draw.item,
                    system=draw.system,
                    prompt=draw.prompt,
                    max_tokens=presets.MAX_TOKENS,
                    temperature=config.temperature,
                    json_schema=presets.SCHEMA,
                )
            except BudgetReached:
                spent.out_of_budget = True
            except NotAnswered:
                dropped.setdefault("the teacher gave no answer", []).append(draw.item)
            tell(min(1.0, sum(len(each.texts) for each in wanted) / total), "making prompts")
            return not spent.out_of_budget

        await for_each(draws, ask, concurrency=CONCURRENCY)
        for one in (each for each in draws if each in answers):  # in the order of the questions, whichever was answered first
            texts, reasons = presets.prompts_in(answers[one].text, one)
            kept = by_item[one.preset, one.tradition]
            for reason in reasons:
                dropped.setdefault(reason, []).append(one.item)
            for place, text in enumerate(texts):
                if len(kept.texts) < kept.number:
                    kept.texts.setdefault(normal(text), presets.made(text, one, place, rehearsal=answers[one].rehearsal))
    spent.of(teacher)
    return [prompt for each in wanted for prompt in each.texts.values()]


async def translate(
    prompts: Sequence[Prompt],
    config: CorpusConfig,
    teacher: Teacher,
    spent: Spent,
    dropped: Dropped,
    tell: Callable[[float, str], None],
) -> list[Prompt]:
    """Prompts in English; those that are not get a translation and keep what was typed, or are left out with the reason."""
    done: dict[str, Prompt] = {}
    foreign = [prompt for prompt in prompts if prompt.origin != "synthetic" and prompt.language != "en"]

    async def one(prompt: Prompt) -> bool:
        try:
            answer = await teacher.ask(
                item=f"translate/{prompt.source}",
                system=TRANSLATE.strip(),
                prompt=prompt.text,
                max_tokens=max(200, 8 * len(words(prompt.text))),
                temperature=config.temperature,
                json_schema=TRANSLATION,
            )
        except BudgetReached:
            spent.out_of_budget = True
            return False
        except NotAnswered:
            dropped.setdefault("not translated: the teacher gave no answer", []).append(prompt.source)
            return True
        text = _translation(answer.text)
        if (reason := _no_translation(text, prompt)) is not None:
            dropped.setdefault(reason, []).append(prompt.source)
        else:
            done[prompt.key] = replace(
                prompt, text=text, language="en", original=prompt.text, rehearsal=prompt.rehearsal or answer.rehearsal
            )
        tell(len(done) / len(foreign), "translating")
        return True

    refused = {source for sources in dropped.values() for source in sources}
    await for_each(foreign, one, concurrency=CONCURRENCY)
    spent.of(teacher)
    lost = {source for sources in dropped.values() for source in sources} - refused
    missing = [prompt.source for prompt in foreign if prompt.key not in done and prompt.source not in lost]
    if missing:
        dropped.setdefault(NOT_TRANSLATED, []).extend(missing)
    theirs = {prompt.key for prompt in foreign}
    return [done.get(prompt.key, prompt) for prompt in prompts if prompt.key in done or prompt.key not in theirs]


def _translation(answer: str) -> str:
    try:
        found = json.loads(answer)["translation"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return " ".join(found.split()) if isinstance(found, str) else ""


def _no_translation(text: str, prompt: Prompt) -> str | None:
    if not words(text) or "\0" in text:
        return "not translated: the teacher's answer is no translation"
    if language_of(text) not in ("en", None):
        return "not translated: the teacher's answer is not English"
    if len(words(text)) > 3 * len(words(prompt.text)) + 5:
        return "not translated: the teacher's answer is much longer"
    return privacy.personal([text], "en")
