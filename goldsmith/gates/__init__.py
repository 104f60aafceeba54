"""Mechanical checks of an interception: the part of quality that needs no judge. For teachers and students alike.

Each rule gives None or a reason that a writer can act on. They are lists of words and counts, for German and English:
they find what is plainly wrong and say nothing about what is good. How well each finds it is measured on the labelled rows
of `tests/data/gates_labelled.tsv`.
"""

from __future__ import annotations

import re

from goldsmith.gates import bans, form, likeness, meta, respect, style
from goldsmith.gates.likeness import near_duplicates
from goldsmith.gates.phrases import plain
from goldsmith.gates.words import among, content_words, named, sentences, shown_unnamed, words
from goldsmith.language import is_other, language_of

__all__ = ["NEAR_DUPLICATE", "RULES", "check", "content_words", "near_duplicates", "passes", "prompt_parts", "words"]

RULES = (
    "K1_vocabulary",  # words of the context's craft are used
    "K2_content",  # what the input names survives
    "K3_style_of",  # no look borrowed from a style, a work or a maker
    "K3_artist",  # no artist's name
    "K4_meta",  # no talk about the text or the task
    "K5_plain_text",  # one paragraph without markup, list, label, quotes around it, emoji
    "K5_length",  # as many words as the context asks for, else the job
    "K6_language",  # the language of the input, in every sentence
    "K7_red_flags",  # no exoticising words
    "K8_bans",  # nothing that the context forbids by name
    "K9_superlatives",  # no words that praise a picture or order its quality
    "K10_copy",  # something was made of the input
    "K11_safety",  # nothing that is not for children
    "K12_wiki",  # no wiki markers
    "truncated",
    "refusal",
)
NEAR_DUPLICATE = "near_duplicate"
"""The one rule that looks at all texts of a dataset at once: see `near_duplicates`."""

KEPT = 0.4  # share of the input's content words; where no more is left, and three are gone, it is another scene
LISTED = 0.5  # likewise of things in a list: one of `a whale and a clown` may not go
CRAFT_WORDS = 2
CRAFT = 5  # with fewer words of a craft a context names none: it only says how long a text is, or what to leave out


def prompt_parts(prompt: str, input: str) -> tuple[str, str]:
    """Task and context of a rendered student prompt that ends with `input`; empty where the labels are not found."""
    head = prompt.removesuffix(input).rstrip()
    match = re.search(r"\ATask:\n(.*?)\n\nContext:\n(.*)\n\nImportant:", head, re.DOTALL)
    return (match[1], match[2]) if match else ("", "")


def check(
    text: str, *, input: str, context: str, language: str | None, min_words: int, max_words: int, task: str = ""
) -> dict[str, str | None]:
    """Every rule of `RULES` with None or the reason why the text breaks it.

    `language` is the input's; rules on words are silent on languages other than de and en. A phrase that the child wrote is
    never held against the text. K1 is silent when the context is in another language than the text or names no
    craft, K2 when the text is in another language than the input or declines: a refusal is talk about the task, K4, and nothing
    else. A context that names a number of words overrules `min_words` and `max_words`.
    """
    text = text.strip()
    said, typed = plain(text), plain(input)
    ends = "the text stops in the middle: end with a full sentence"
    declined = meta.refusal(said, typed)
    return {
        "K1_vocabulary": _vocabulary(text, input, context, task),
        "K2_content": None if declined or _translated(text, language) else _content(text, input),
        "K3_style_of": _because(style.style(said, typed), "show how it is made instead of naming a style"),
        "K3_artist": _because(style.artist(said, typed), "name no artist: say what is done, with which material"),
        "K4_meta": _because(declined or meta.meta(said, typed), "write the result only, no words about it"),
        "K5_plain_text": form.plain_text(text, input),
        "K5_length": form.length(text, context, min_words, max_words),
        "K6_language": _language(text, language),
        "K7_red_flags": _because(respect.red_flags(said, typed), "say what is there, in the tone of any other place"),
        "K8_bans": _banned(said, typed, context),
        "K9_superlatives": _because(respect.superlatives(said, typed), "do not praise: say what can be seen"),
        "K10_copy": "the text repeats the prompt and adds nothing" if likeness.copied(text, input) else None,
        "K11_safety": _because(respect.unsafe(said, typed), "this is not for children"),
        "K12_wiki": form.wiki(text),
        "truncated": ends if meta.truncated(text) else None,
        "refusal": _because(declined, "answer with the text itself"),
    }


def passes(
    text: str, *, input: str, context: str, language: str | None, min_words: int, max_words: int, task: str = ""
) -> bool:
    """True when no rule is broken."""
    checks = check(text, input=input, context=context, language=language, min_words=min_words, max_words=max_words, task=task)
    return not any(checks.values())


def _because(phrase: str | None, instead: str) -> str | None:
    return None if phrase is None else f"{phrase!r}: {instead}"


def _banned(text: str, typed: str, context: str) -> str | None:
    broken = bans.broken_ban(text, typed, context)
    return None if broken is None else f"{broken}: the context forbids it"


def _vocabulary(text: str, input: str, context: str, task: str) -> str | None:
    if language_of(context) is None or language_of(context) != language_of(text):
        return None
    about_craft = " ".join(
        sentence for sentence in sentences(context) if not form.says_length(sentence) and not bans.bans(sentence)
    )
    forbidden = [word for ban in bans.bans(context) for word in words(ban.named)]
    elsewhere = words(input) + words(task) + forbidden
    written = words(text)
    craft = [word for word in content_words(about_craft) if not among(word, elsewhere)]
    used = [word for word in craft if among(word, written)]
    if len(used) >= CRAFT_WORDS or len(craft) < CRAFT:
        return None
    return f"{len(used)} words of the context are used, {CRAFT_WORDS} at least are wanted, such as {', '.join(craft[:6])}"


_AND = re.compile(r"[,;&+]|\b(?:and|und|plus|sowie)\b", re.IGNORECASE)
_THING = re.compile(
    r"\s*(?:an?|the|my|your|his|her|our|their|some|many|two|three|four|five|ten|\d+|eine?[nmrs]?|de[rnms]|die|das|mein\w*|dein\w*|sein\w*|ihr\w*|unser\w*"
    r"|zwei|drei|vier|fünf|zehn|viele)\s",
    re.IGNORECASE,
)


def _content(text: str, input: str) -> str | None:
    wanted = content_words(input)
    written = words(text)
    lost = [word for word in wanted if not named(word, written)]
    parts = _AND.split(input)
    listed = [things for part in parts if (things := content_words(part)) and (len(parts) > 2 or _THING.match(part))]
    gone = [things for things in listed if all(word in lost for word in things)]
    only_its_adjective = len(wanted) == 2 and lost == wanted[1:] and words(input)[-2:] == wanted
    nothing_left = bool(lost) and len(lost) == len(wanted)
    # A party or the winter is shown without being named, and so is what music is about; three words of one scene are not.
    missed = len(wanted) > 2 or not (any(map(shown_unnamed, lost)) or _MUSIC.search(input))
    other_scene = (only_its_adjective or nothing_left) and missed
    most = len(lost) >= 3 and 1 - len(lost) / len(wanted) <= KEPT
    some = len(listed) > 1 and len(gone) >= LISTED * len(listed)
    if not (other_scene or most or some):
        return None
    return f"of what the prompt names, this is gone: {', '.join(lost[:8])}"


_MUSIC = re.compile(
    r"\b(?:\w*(?:songs?|lied|lieder|musik|music|melod\w+|tune|sound|klang|hymn\w*|ballad\w*|walzer|waltz|marsch|rap|beat|lullab\w+)|erzähl\w* als|speak as|talk as)\b",
    re.IGNORECASE,
)


def _translated(text: str, language: str | None) -> bool:
    """Another language than the input's: K6 says so, and no word could be found again."""
    return language in ("de", "en") and language_of(text) != language


def _language(text: str, language: str | None) -> str | None:
    known = {"de": "German", "en": "English"}
    whole = language_of(text)
    if language not in known:
        foreign = language is not None and whole is not None
        return f"write in the language of the prompt, not in {known[whole or 'en']}" if foreign else None
    other = "en" if language == "de" else "de"
    wrong = [part for part in sentences(text) if len(part.split()) > 5 and (language_of(part) == other or is_other(part))]
    if whole == language and not wrong:
        return None
    return f"write in the language of the prompt, {known[language]}" + (" to the end" if whole == language else "")
