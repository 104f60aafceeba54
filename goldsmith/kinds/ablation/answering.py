"""Every recipe's answers, written once each and kept, so that an attempt goes on where the last one ended."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from goldsmith.kinds.ablation.heldout import Question
from goldsmith.kinds.ablation.recipes import BASE, Recipe
from goldsmith.kinds.ablation.schema import AblationConfig
from goldsmith.student.conversation import prompt_ids
from goldsmith.uno import prompts
from goldsmith.uno.judge import Grade

if TYPE_CHECKING:
    from goldsmith.context import JobContext
    from goldsmith.student import Student

CHUNK = 16  # conversations answered at once, and lost at most when a run is killed
STATE = "answered.json"
Messages = list[dict[str, str]]


@dataclass
class Kept:
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """By step (`base`, `rules`, `adapter:<ref>`, `critique:<ref>`, `rewrite:<ref>`) and session."""
    too_long: dict[str, list[str]] = field(default_factory=dict)
    """By step the sessions whose prompt does not fit."""
    grades: dict[str, dict[str, Grade]] = field(default_factory=dict)
    """By session and text."""

    def keep(self, ctx: JobContext) -> None:
        folder = ctx.scratch / "kept"
        folder.mkdir(exist_ok=True)
        (folder / STATE).write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")
        ctx.checkpoint(folder)
        shutil.rmtree(folder)

    def answer(self, recipe: Recipe, session: str) -> str | None:
        """The last text of a recipe, or the draft where a later step did not fit; None: not even a draft fits."""
        draft = self.texts[BASE.name].get(session)
        step = f"rewrite:{recipe.adapter}" if recipe.how == "reflect" else recipe.name
        return self.texts.get(step, {}).get(session, draft)

    def was_cut_short(self, recipe: Recipe, session: str) -> bool:
        steps = [f"critique:{recipe.adapter}", f"rewrite:{recipe.adapter}"] if recipe.how == "reflect" else [recipe.name]
        return any(session in self.too_long.get(step, []) for step in steps)


def restored(ctx: JobContext) -> Kept:
    folder = ctx.restore()
    if folder is None:
        return Kept()
    told = json.loads((folder / STATE).read_text(encoding="utf-8"))
    grades = {session: {text: Grade(**one) for text, one in texts.items()} for session, texts in told["grades"].items()}
    return Kept(told["texts"], told["too_long"], grades)


class Writer:
    """The base model and its adapters, one step after the other."""

    def __init__(
        self, student: Student, questions: Sequence[Question], kept: Kept, config: AblationConfig, ctx: JobContext
    ) -> None:
        self.student, self.kept, self.config, self.ctx = student, kept, config, ctx
        self.questions = {question.key: question for question in questions}
        self.room = _positions(student.folder) - config.max_new_tokens

    def write(self, recipes: Sequence[Mapping[str, Recipe]], retrieved: Callable[[Question], list[str]]) -> None:
        """What all variants need: drafts of every session, then each adapter's part, so that every adapter is loaded once."""
        wanted: dict[Recipe, set[str]] = {}
        for one in recipes:
            for session, recipe in one.items():
                wanted.setdefault(recipe, set()).add(session)
        steps = 2 + sum(2 if recipe.how == "reflect" else 1 for recipe in wanted if recipe != BASE)
        done = 0

        def step(name: str, adapter: str | None, prompts_of: Mapping[str, Messages]) -> None:
            nonlocal done
            self._step(name, adapter, prompts_of, (3 + 62 * done / steps, 3 + 62 * (done + 1) / steps))
            done += 1

        step(BASE.name, None, {key: question.messages for key, question in self.questions.items()})
        drafts = self.kept.texts[BASE.name]
        for recipe in sorted(wanted.keys() - {BASE}, key=lambda one: one.name):
            asked = {key: self.questions[key] for key in sorted(wanted[recipe]) if key in drafts}
            if recipe.how == "adapter":
                step(recipe.name, recipe.adapter, {key: question.messages for key, question in asked.items()})
            elif recipe.how == "rules":
                step(recipe.name, None, {key: _with_rules(question, retrieved(question)) for key, question in asked.items()})
            else:
                name = f"critique:{recipe.adapter}"
                texts = {key: prompts.critic_prompt(one.session.query_text, drafts[key]) for key, one in asked.items()}
                step(name, recipe.adapter, {key: _user(text) for key, text in texts.items()})
                critiques = {key: text for key, text in self.kept.texts[name].items() if key in asked and text.strip()}
                texts = {
                    key: prompts.rewrite_prompt(asked[key].session.query_text, text, drafts[key], asked[key].session.language)
                    for key, text in critiques.items()
                }
                step(f"rewrite:{recipe.adapter}", None, {key: _user(text) for key, text in texts.items()})

    def _step(self, name: str, adapter: str | None, asked: Mapping[str, Messages], progress: tuple[float, float]) -> None:
        texts, long = self.kept.texts.setdefault(name, {}), self.kept.too_long.setdefault(name, [])
        new = [key for key in asked if key not in texts and key not in long]
        too_long = [key for key in new if len(prompt_ids(self.student.tokenizer, asked[key])) > self.room]
        long += too_long
        going = [key for key in new if key not in too_long]
        if not going:
            return
        places = {key: place for place, key in enumerate(asked)}
        self.student.use(self.ctx.adapter(adapter) if adapter else None)
        begin, end = progress
        for start in range(0, len(going), CHUNK):
            chunk = going[start : start + CHUNK]
            low, high = (begin + (end - begin) * at / len(going) for at in (start, start + len(chunk)))

            def told(share: float, low: float = low, high: float = high) -> None:
                self.ctx.progress(low + (high - low) * share, f"{name} writes {len(going)} texts")

            written = self.student.generate(
                [asked[key] for key in chunk],
                self.config.max_new_tokens,
                temperature=self.config.temperature,
                seed=self.config.seed + places[chunk[0]],  # the same in whichever attempt
                told=told,
            )
            texts.update(zip(chunk, written, strict=True))
            self.kept.keep(self.ctx)


def _user(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def _with_rules(question: Question, rules: Sequence[str]) -> Messages:
    session = question.session
    return [*question.messages[:-1], *_user(prompts.with_rules_prompt(session.query, rules, session.language))]


def _positions(folder: Path) -> int:
    """Tokens that the base model reads; of one that names no such number, more than anybody has."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return int(config.get("text_config", config).get("max_position_embeddings") or sys.maxsize)
