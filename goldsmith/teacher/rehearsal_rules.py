"""The rehearsal teacher's rules of a session, by written rules: from what was said, changed or kept, or from the query alone.

It believes whatever it is told, as a careless model would: what keeps an attack out of the rules is not its doing.
"""

from __future__ import annotations

import json
import re

from goldsmith import gates
from goldsmith.language import language_of
from goldsmith.teacher.transform import REJECTED, as_written, hashed
from goldsmith.uno.logs import CORRECTED
from goldsmith.uno.runs import EDITED

BROKEN_JSON = 8  # of a hundred first answers

_CHANGED = re.compile(rf"(?:{'|'.join(map(re.escape, [*EDITED.values(), *CORRECTED.values()]))})\s*")
_VERDICT = re.compile(
    r"^(?:(?:vielen |many |herzlichen )?(?:danke?|thanks?(?: you)?|merci)\b.*"
    r"|(?:super|toll|prima|perfekt|great|perfect|nice|ok(?:ay)?|gut|good|besser|better)(?: (?:so|job|gemacht|work|antwort|answer))?"
    r"|.*\b(?:so passt es|das passt|that works|looks good|hilft mir (?:noch )?nicht|does not help me)\b.*)[.! ]*$",
    re.IGNORECASE,
)
_POLITE = re.compile(
    r"^(?:(?:nein|no|ja|yes|hm+|naja|well|also|but|aber|und|and|next time|nächstes mal)[, ]+)*"
    r"(?:(?:bitte|please|könntest du|kannst du|could you|can you|would you|ich hätte gern(?:e)?,? dass du|i want you to|i'd like you to)[,: ]+)+",
    re.IGNORECASE,
)


def rules(prompt: str) -> str:
    """The rules of a session as JSON."""
    prompt, repair, _ = prompt.partition(REJECTED)
    text = json.dumps({"rules": _rules(_blocks(prompt))}, ensure_ascii=False)
    broken = not repair and hashed(prompt, "rules") % 100 < BROKEN_JSON
    return text[: len(text) // 2] if broken else text


def _blocks(prompt: str) -> dict[str, str]:
    return {tag: text.strip() for tag, text in re.findall(r"<(question|answer|feedback)>\n(.*?)\n</\1>", prompt, re.DOTALL)}


def _rules(blocks: dict[str, str]) -> list[str]:
    typed, raw, said = (blocks.get(tag, "") for tag in ("question", "answer", "feedback"))
    german = (language_of(typed) or language_of(raw)) == "de"
    if said:
        changed = _CHANGED.split(said, maxsplit=1)
        edits = _from_edit(typed, raw, changed[1], german) if len(changed) > 1 else []
        return list(dict.fromkeys([*_from_words(changed[0]), *edits]))
    return _from_favourite(typed, raw, german) if raw else _from_input(typed, german)


def _from_words(said: str) -> list[str]:
    """Every sentence that is neither thanks, nor a verdict, nor a question, without the asking around it."""
    found = []
    for line in re.split(r"(?:^|\n)Feedback \d+: ", said):
        for sentence in re.split(r"(?<=[.!?])\s+|\n", line):
            asked = _POLITE.sub("", " ".join(sentence.split()))
            wish = asked != " ".join(sentence.split())
            if not asked or _VERDICT.match(asked) or (asked.endswith("?") and not wish) or not re.search(r"\w{2}", asked):
                continue
            found.append(f"{asked[:1].upper()}{asked[1:].rstrip('.!? ')}.")
    return found


def _from_edit(typed: str, raw: str, accepted: str, german: bool) -> list[str]:
    before, after = gates.content_words(raw), gates.content_words(accepted)
    gone = [as_written(word, raw) for word in before if word not in after]
    new = [word for word in after if word not in before]
    asked = gates.content_words(typed)
    kept = [as_written(word, accepted) for word in new if word in asked]
    added = [as_written(word, accepted) for word in new if word not in asked]
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
    kept = [as_written(word, raw) for word in written if word in asked]
    craft = [as_written(word, raw) for word in written if word not in asked]
    found: list[str] = []
    if kept:
        found.append(f"{'Behalte, was im Prompt steht' if german else 'Keep what the prompt names'}: {', '.join(kept[:4])}.")
    if len(craft) >= 3:
        found.append(
            f"{'Nimm Wörter des Handwerks wie' if german else 'Use words of the craft such as'} {', '.join(craft[:3])}."
        )
    return found


def _from_input(typed: str, german: bool) -> list[str]:
    asked = [as_written(word, typed) for word in gates.content_words(typed)]
    if not asked:
        return []
    found = [f"{'Zeige' if german else 'Show'} {', '.join(asked[:4])} {'deutlich' if german else 'clearly'}."]
    if len(asked) > 2:
        pair = f"{asked[0]} {'und' if german else 'and'} {asked[-1]}"
        found.append(f"Sage, was {pair} miteinander tun." if german else f"Say what {pair} do with each other.")
    found.append("Antworte auf Deutsch." if german else "Answer in English.")
    return found
