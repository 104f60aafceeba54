"""The rehearsal teacher's written rules. No model: what it writes is decided by the request's text alone.

`<what the prompt names>: <a frame in the words of the context's craft>`, the same few frames again and again, so that a
small student can learn them from a hundred rows. About one first answer in five breaks a quality rule on purpose; told why,
it writes most of them right.
"""

from __future__ import annotations

import hashlib
import json
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
BROKEN_JSON = 8  # of a hundred first answers with a schema
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
    number = _number(context, typed)
    good = f"{subject(typed)}: {_frame(context, language, number)}"
    if repair and rejected.startswith(good):  # nothing is wrong with it but that another row has its like
        return f"{subject(typed)}: {_frame(context, language, number + 7)}"  # the next frame
    if number % 100 >= DEFECTS or (repair and number // 100 % STUBBORN):
        return good
    return _broken(number // 1000, good, typed, context, language)


def rules(prompt: str) -> str:
    """The rules of a session as JSON: from what the child changed, from a favourite, or from the input alone."""
    prompt, repair, _ = prompt.partition(REJECTED)
    text = json.dumps({"rules": _rules(_sections(prompt))}, ensure_ascii=False)
    broken = not repair and _number(prompt, "rules") % 100 < BROKEN_JSON
    return text[: len(text) // 2] if broken else text


def _parts(prompt: str) -> tuple[str, str]:
    """Context and input, by their labels; a prompt without labels is all input."""
    match = re.search(r"\n\nContext:\n(.*?)\n\nImportant:[^\n]*\n\nPrompt:\n(.*)\Z", f"\n\n{prompt}", re.DOTALL)
    return (match[1], match[2]) if match else ("", prompt)


def _number(*texts: str) -> int:
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
    return _frames()["other"][language][0].format(*(_as_written(word, context) for word in craft[start : start + 4]))


def _as_written(word: str, context: str) -> str:
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


def _sections(prompt: str) -> dict[str, str]:
    """`Input`, `Answer`, `Accepted text`: what stands below each label."""
    parts = re.split(r"(?:\A|\n\n)(Input|Answer|Accepted text):\n", prompt)
    return {label: text.strip() for label, text in zip(parts[1::2], parts[2::2], strict=True)}


def _rules(sections: dict[str, str]) -> list[str]:
    typed, raw, accepted = (sections.get(label, "") for label in ("Input", "Answer", "Accepted text"))
    german = (language_of(typed) or language_of(raw)) == "de"
    if accepted and raw:
        return _from_edit(typed, raw, accepted, german)
    if raw:
        return _from_favourite(typed, raw, german)
    return _from_input(typed, german)


def _from_edit(typed: str, raw: str, accepted: str, german: bool) -> list[str]:
    before, after = gates.content_words(raw), gates.content_words(accepted)
    gone = [_as_written(word, raw) for word in before if word not in after]
    new = [word for word in after if word not in before]
    asked = gates.content_words(typed)
    kept = [_as_written(word, accepted) for word in new if word in asked]
    added = [_as_written(word, accepted) for word in new if word not in asked]
    found: list[str] = []
    if _is_meta(raw, typed) and not _is_meta(accepted, typed):
        found.append(
            "Schreibe nur das Ergebnis, ohne Einleitung." if german else "Write the result only, without an introduction."
        )
    if kept:
        found.append(
            f"{'Nenne alles, was im Prompt steht' if german else 'Name all that the prompt names'}: {', '.join(kept[:4])}."
        )
    if added:
        found.append(
            f"{'Beschreibe genauer, zum Beispiel' if german else 'Be more specific, for example'}: {', '.join(added[:4])}."
        )
    if gone:
        found.append(f"{'Lass weg' if german else 'Leave out'}: {', '.join(gone[:4])}.")
    longer = len(accepted.split()) / max(1, len(raw.split()))
    if longer >= 1.25:
        found.append(
            f"Schreibe etwa {len(accepted.split())} Wörter." if german else f"Write about {len(accepted.split())} words."
        )
    elif longer <= 0.8:
        found.append(
            f"Fasse dich kürzer, etwa {len(accepted.split())} Wörter."
            if german
            else f"Be brief, about {len(accepted.split())} words."
        )
    return found


def _is_meta(text: str, typed: str) -> bool:
    checks = gates.check(text, input=typed, context="", language=None, min_words=0, max_words=1_000_000)
    return checks["K4_meta"] is not None


def _from_favourite(typed: str, raw: str, german: bool) -> list[str]:
    asked = gates.content_words(typed)
    written = gates.content_words(raw)
    kept = [_as_written(word, raw) for word in written if word in asked]
    craft = [_as_written(word, raw) for word in written if word not in asked]
    found: list[str] = []
    if kept:
        found.append(f"{'Behalte, was im Prompt steht' if german else 'Keep what the prompt names'}: {', '.join(kept[:4])}.")
    if len(craft) >= 3:
        found.append(
            f"{'Nimm Wörter des Handwerks wie' if german else 'Use words of the craft such as'} {', '.join(craft[:3])}."
        )
    return found


def _from_input(typed: str, german: bool) -> list[str]:
    asked = [_as_written(word, typed) for word in gates.content_words(typed)]
    if not asked:
        return []
    found = [f"{'Zeige' if german else 'Show'} {', '.join(asked[:4])} {'deutlich' if german else 'clearly'}."]
    if len(asked) > 2:
        pair = f"{asked[0]} {'und' if german else 'and'} {asked[-1]}"
        found.append(f"Sage, was {pair} miteinander tun." if german else f"Say what {pair} do with each other.")
    found.append("Antworte auf Deutsch." if german else "Answer in English.")
    return found
