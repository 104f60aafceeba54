"""The rehearsal teacher's written rules. No model: what it writes is decided by the request's text alone.

`<what the prompt names>: <a frame in the words of the context's craft>`, the same few frames again and again, so that a
small student can learn them from a hundred rows. About one first answer in five breaks a quality rule on purpose; told why,
it writes most of them right.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from functools import lru_cache
from pathlib import Path

from goldsmith import gates
from goldsmith.language import language_of

REJECTED = "\n\nRejected answer:\n"
"""What a repair request puts between the prompt and the answer that did not pass."""

DEFECTS = 20  # of a hundred first answers
STUBBORN = 5  # every fifth of them stays broken
LONGEST_SUBJECT = 18  # words; with the longest frame that stays within 45

_FRAMES = Path(__file__).with_name("rehearsal.toml")

_ASKING = re.compile(
    r"^(?:(?:lieber|liebe|dear|hi|hallo|hello) \w+, )?(?:bitte |please )?"
    r"(?:(?:male?|zeichne|zeige?|mache?)(?: mir| uns)?(?: bitte| mal)? |(?:draw|paint|make|show)(?: me| us)? "
    r"|(?:kannst|könntest) du (?:mir |bitte )*|(?:can|could) you (?:please )?(?:draw|paint|make|show)(?: me)? "
    r"|ich (?:wünsche mir|hätte gerne?|möchte) |i (?:wish for|would like|want) )?",
    re.IGNORECASE,
)
_ACCUSATIVE = (("einen ", "ein "), ("den ", "der "))


def answer(prompt: str) -> str:
    """The interception for a rendered student prompt, or for such a prompt with a rejected answer below it."""
    prompt, repair, rejected = prompt.partition(REJECTED)
    context, typed = _parts(prompt)
    language = language_of(typed) or language_of(context) or "en"
    number = hashed(context, typed)
    good = f"{subject(typed)}: {_frame(context, language, number)}"
    if repair and rejected.startswith(good):  # nothing is wrong with it but that another row has its like
        return f"{subject(typed)}: {_frame(context, language, number + 7)}"  # the next frame
    if number % 100 >= DEFECTS or (repair and number // 100 % STUBBORN):
        return good
    return _broken(number // 1000, good, typed, context, language)


def _parts(prompt: str) -> tuple[str, str]:
    """Context and input, by their labels; a prompt without labels is all input."""
    match = re.search(r"\n\nContext:\n(.*?)\n\nImportant:[^\n]*\n\nPrompt:\n(.*)\Z", f"\n\n{prompt}", re.DOTALL)
    return (match[1], match[2]) if match else ("", prompt)


def hashed(*texts: str) -> int:
    return int(hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12], 16)


def subject(typed: str) -> str:
    """The child's own words, without the asking around them."""
    text = re.sub(r"[*#`_<>]", "", " ".join(typed.split())).strip(" \"'„“.!?:-") or "…"
    asked = _ASKING.sub("", text, count=1)
    if asked and asked != text:
        for accusative, nominative in _ACCUSATIVE:
            if asked.startswith(accusative):
                asked = nominative + asked.removeprefix(accusative)
    words = (asked or text).split()
    if len(words) > LONGEST_SUBJECT:
        words = words[:LONGEST_SUBJECT]
    text = " ".join(words).rstrip(",;:")
    return text[:1].upper() + text[1:]


@lru_cache
def _frames() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads(_FRAMES.read_text(encoding="utf-8"))


def _frame(context: str, language: str, number: int) -> str:
    said = set(gates.words(context)) | set(re.findall(r"\w+-\w+", context.casefold()))
    known = {name: sum(mark in said for mark in frames["marks"]) for name, frames in _frames().items()}
    best = max(known, key=lambda name: known[name])
    if known[best] >= 3:
        frames = _frames()[best][language]
        return frames[number // 7 % len(frames)]
    craft = [word for word in gates.content_words(context) if len(word) > 3]
    while len(craft) < 4:
        craft.append(
            ("shape", "line", "rim", "ground")[len(craft)]
            if language == "en"
            else ("Form", "Linie", "Rand", "Grund")[len(craft)]
        )
    start = number // 7 % (len(craft) - 3)
    return _frames()["other"][language][0].format(*(as_written(word, context) for word in craft[start : start + 4]))


def as_written(word: str, context: str) -> str:
    """With the capital that the context gives it."""
    match = re.search(rf"\b{re.escape(word)}\b", context, re.IGNORECASE)
    return match[0] if match else word


def _broken(number: int, good: str, typed: str, context: str, language: str) -> str:
    german = language == "de"
    named = good.partition(":")[0]
    defects = (
        lambda: f"{'Hier ist die Beschreibung' if german else 'Here is the description'}: {good}",
        lambda: f"# {named}\n\n{good}",
        lambda: f"{good[:-1]}, {'im Stil eines berühmten Ateliers' if german else 'in the style of a famous studio'}.",
        lambda: f"{named}: {_frame(context, 'en' if german else 'de', number)}",
        lambda: typed,
        lambda: " ".join(good.split()[:-6]),
    )
    return defects[number % len(defects)]()
