"""A log with planted topics, planted feedback and a planted cluster of noise: what `goldsmith uno demo` shall find again."""

from __future__ import annotations

import itertools
import json
import random
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SESSIONS = 1200
NOISE = "noise"
LANGUAGES = ("de", "en")
KNOWN = 0.9  # of a topic's sessions ask for what the model knows by itself: its gap is low, by planting
ASKS = {"en": ("{rule}", "Thanks. {rule}", "Please {wish}"), "de": ("{rule}", "Danke. {rule}", "Bitte {wish}")}


def make(seed: int, sessions: int = SESSIONS, languages: Sequence[str] = LANGUAGES) -> list[dict[str, Any]]:
    """Chats as OpenAI writes them; the id says what was planted: `<topic>-<language>-<number>`.

    A tenth of each language is noise, the rest is shared by the topics alike; no two chats ask the same.
    """
    planted = tomllib.loads(Path(__file__).with_name("uno_log.toml").read_text(encoding="utf-8"))
    topics = [topic for topic in planted if topic != NOISE]
    rng = random.Random(seed)  # noqa: S311  a log that can be made again
    chats = []
    for language in languages:
        here = sessions // len(languages)
        counts = {NOISE: here // 10} | dict.fromkeys(topics, (here - here // 10) // len(topics))
        for topic, count in counts.items():
            chats += _chats(rng, topic, language, planted[topic][language], count)
    rng.shuffle(chats)
    return chats


def topic_of(session_id: str) -> str:
    return session_id.split("-")[0]


def language_of(session_id: str) -> str:
    return session_id.split("-")[1]


def lines(chats: Sequence[dict[str, Any]]) -> bytes:
    return "".join(f"{json.dumps(chat, ensure_ascii=False)}\n" for chat in chats).encode()


def _chats(rng: random.Random, topic: str, language: str, of: dict[str, list[str]], count: int) -> list[dict[str, Any]]:
    every = [query.format(a=a, b=b) for query, a, b in itertools.product(of["queries"], of["a"], of["b"])]
    found = []
    for number, query in enumerate(rng.sample(every, count)):
        known = topic != NOISE and rng.random() < KNOWN
        rules = [of["rules"][0]] if known else []
        rules += rng.sample(of["rules"][topic != NOISE :], 2 if topic != NOISE else 3)
        asks = ASKS[language][: 1 if topic == NOISE else None]
        turns = [rng.choice(asks).format(rule=rule, wish=rule[:1].lower() + rule[1:]) for rule in rules]
        said = [text for turn in turns for text in (("user", turn), ("assistant", rng.choice(of["answers"])))][:-1]
        spoken = [("user", query), ("assistant", rng.choice(of["answers"])), *said]
        messages = [{"role": role, "content": text} for role, text in spoken]
        found.append({"id": f"{topic}-{language}-{number:04}", "language": language, "messages": messages})
    return found
