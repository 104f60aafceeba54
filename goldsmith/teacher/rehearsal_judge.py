"""The rehearsal teacher as a judge: by counting words, and said to be no more than that.

K1 counts the context's words in the text, K2 the input's, K7 and K9 look for words out of place. It has no taste, and where
two texts count the same it takes the first.
"""

from __future__ import annotations

import json
import re

from goldsmith import gates
from goldsmith.gates import respect
from goldsmith.gates.phrases import plain
from goldsmith.gates.words import among

SCORES = frozenset({"K1", "K2", "K7", "K9", "why"})
BETTER = frozenset({"better", "why"})

_EMPTY_WORDS = re.compile(
    r"\b(?:beautiful|wonderful|amazing|magic\w*|perfect|feelings?|emotions?|energy|dream\w*|soul|harmony|dance of"
    r"|wunder\w*|fantastisch\w*|gefühle?|magie|energie|seele|harmonie|stimmung|irgendwie|traumhaft\w*)\b",
    re.IGNORECASE,
)


def scores(prompt: str) -> str:
    parts = _sections(prompt)
    found = _judge(parts.get("Context", ""), parts.get("Input", ""), parts.get("Text", ""))
    lowest = min(found, key=lambda name: found[name])
    return json.dumps({**found, "why": f"{lowest} is lowest, by counted words"})


def better(prompt: str) -> str:
    parts = _sections(prompt)
    asked = re.search(r"\bby (K\d+)\b", prompt)
    name = asked[1] if asked else "K1"
    a, b = (
        _judge(parts.get("Context", ""), parts.get("Input", ""), parts.get(label, ""))[name] for label in ("Text A", "Text B")
    )
    return json.dumps({"better": "B" if b > a else "A", "why": f"{name} is {a} and {b}, by counted words"})


def _sections(prompt: str) -> dict[str, str]:
    parts = re.split(r"(?:\A|\n\n)(Context|Input|Text|Text A|Text B):\n", prompt)
    return {label: text.strip() for label, text in zip(parts[1::2], parts[2::2], strict=True)}


def _judge(context: str, typed: str, text: str) -> dict[str, int]:
    written = gates.words(text)
    wanted = gates.content_words(typed)
    craft = [word for word in gates.content_words(context) if not among(word, gates.words(typed))]
    used = sum(among(word, written) for word in craft)
    kept = sum(among(word, written) for word in wanted) / len(wanted) if wanted else 1
    strange = respect.red_flags(plain(text), plain(typed)) is not None
    empty = len(_EMPTY_WORDS.findall(text)) + 2 * (respect.superlatives(plain(text), plain(typed)) is not None)
    return {
        "K1": min(10, 2 * used),
        "K2": round(10 * kept),
        "K7": 2 if strange else 10,
        "K9": max(0, min(10, 6 + used) - 3 * empty),
    }
