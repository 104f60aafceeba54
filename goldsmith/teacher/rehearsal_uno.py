"""The rehearsal teacher's rules for UNO: revised answers and grades by counted words, and said to be no more than that.

A revision says what the question names and then the words of every rule, in their order; a grade counts how many of the rules'
words an answer has, then how many of the question's. So a revision beats an answer that ignores the rules, and a small student
can learn it.
"""

from __future__ import annotations

import json
import re

from goldsmith import gates
from goldsmith.gates.words import among
from goldsmith.language import language_of
from goldsmith.teacher.transform import REJECTED, subject

SCORE = frozenset({"reason", "score"})
COVERED = frozenset({"covered"})
MOST_WORDS = 40  # of a revision; more would not fit what a small student writes


def is_revision(prompt: str) -> bool:
    """Whether it asks for a revised answer; no other request has a question between tags and wants no JSON."""
    return prompt.startswith("<question>\n")


def revised(prompt: str) -> str:
    parts = _blocks(prompt)
    question = parts.get("question", "")
    said = re.sub(r"Feedback \d+:", "", f"{parts.get('rules', '')}\n{parts.get('feedback', '')}")
    words = gates.content_words(said)[:MOST_WORDS]
    german = language_of(question) == "de"
    told = ", ".join(words) or ("so wie gefragt" if german else "as it was asked")
    return f"{subject(question)}: {'mit' if german else 'with'} {told}."


def score(prompt: str) -> str:
    parts = _blocks(prompt.partition(REJECTED)[0])
    written = gates.words(parts.get("answer", ""))
    met, kept = (_share(parts.get(name, ""), written) for name in ("rules", "question"))
    reason = f"{met:.0%} of the rules' words, {kept:.0%} of the question's, by counted words"
    return json.dumps({"reason": reason, "score": 1 + round(6 * met + 3 * kept)})


def covered(prompt: str) -> str:
    parts = _blocks(prompt.partition(REJECTED)[0])
    own = gates.words(parts.get("own_rules", ""))
    demands = re.split(r"\n(?=\d+\. )", parts.get("demands", ""))
    return json.dumps({"covered": [round(10 * _share(demand, own)) for demand in demands]})


def _share(wanted: str, written: list[str]) -> float:
    words = gates.content_words(re.sub(r"Feedback \d+:", "", wanted))
    return sum(among(word, written) for word in words) / len(words) if words else 1.0


def _blocks(prompt: str) -> dict[str, str]:
    return dict(re.findall(r"<(\w+)>\n(.*?)\n</\1>", prompt, re.DOTALL))
