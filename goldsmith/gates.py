"""Mechanical checks of an interception: the part of quality that needs no judge. For teachers and students alike.

Each rule gives None or a reason that a writer can act on. They are lists of words and counts, for German and English:
they find what is plainly wrong and say nothing about what is good.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import takewhile

from goldsmith.language import language_of

RULES = (
    "K1_vocabulary",  # words of the context's craft are used
    "K2_content",  # what the input names survives
    "K3_style_of",  # no "in the style of"
    "K4_meta",  # no talk about the text or the task
    "K5_form",  # one plain paragraph of the wanted length
    "K6_language",  # the language of the input
    "K7_red_flags",  # no exoticising words
    "K10_copy",  # something was made of the input
    "K12_wiki",  # no wiki markers
    "truncated",
    "refusal",
)

KEPT = 0.6  # share of the input's content words; a guess: one of two or three may be paraphrased
NEW = 0.35  # share of the text's words that are not the input's; a guess
CRAFT_WORDS = 2

_DE = """
der das dem den des ein eine einen einem einer eines und oder aber denn ist sind wird werden wurde nicht kein keine mit auf im
ins zu zum zur von vom für sich auch wie es er sie ich wir ihr mein meine dein sein seine unser aus bei nach über unter vor
hinter neben zwischen durch gegen um bis als ob weil wenn dass noch schon nur sehr hier dort da jede jeder jedes alle alles
viel mehr man haben habe hatte kann hätte wäre würde würden gibt statt ohne seit dann zuletzt zuerst gern die
"""
_EN = """
the a and or but is are were be been of to on with at from it its that this these those for by as into onto through over under
behind beside between out up down off he she they we you i my your his their our there not no every each all both some any
when while because if what who where which how has have had does do did can could would should than then only just very too
more most one two
"""
_BOTH = "in an am was so also hat war will her bin man"  # a word in one language and a word or a form in the other

# Words that children ask with and contexts order with; they are not what the text is about.
_REQUESTS = """
bitte male mal malen zeichne zeichnen zeig zeige mach mache mir uns lieber liebe computer bild foto kannst könntest möchte
wünsche wünschte stell please draw make show paint me picture image could wish want like dear let us imagine say sage sag tell
erzähle name nenne benenne describe beschreibe betrachte treat behandle think denke look build baue reduce verringere lay lege
leave lass turn repeat wiederhole scene szene thing things ding dinge prompt everything welche welcher welches wo single
"""
_STOP = frozenset(f"{_DE} {_EN} {_BOTH} {_REQUESTS}".split())

_STYLE_OF = (
    r"\b(?:in|im|à|nach) (?:the |a |dem |einem )?(?:style|manner|stil)s? (?:of|von|der|des|eines|einer)\b",
    r"\bim \w+(?:stil|style)\b",
    r"\b\w+-style\b",
    r"\binspired by\b",
    r"\binspiriert von\b",
    r"\bà la\b",
    r"\breminiscent of\b",
    r"\bin der art (?:von|der|des|eines|einer)\b",
    r"\bin the vein of\b",
)
_META = (
    r"\bhere(?:'s| is| are) (?:the|your|a|my)\b",
    r"\bi (?:will|would|have|am going to|tried|chose|describe|rewrote|transformed)\b",
    r"\bi'(?:ll|ve)\b",
    r"\bthis (?:image|picture|text|paragraph|description|version|scene) (?:shows|depicts|describes|represents|is)\b",
    r"\b(?:the|your|this) (?:prompt|task|context|instruction|input)\b",
    r"\b(?:rewritten|transformed) (?:version|prompt|text)\b",
    r"\bas (?:requested|asked|instructed)\b",
    r"\bsure[,!]",
    r"\bcertainly[,!]",
    r"\bhier ist\b",
    r"\bhier sind\b",
    r"\bich (?:werde|habe|würde|beschreibe|zeige|möchte)\b",
    r"\b(?:dieses|das) (?:bild|foto) zeigt\b",
    r"\bdiese[rs]? (?:text|absatz|beschreibung|szene|fassung|version) (?:zeigt|beschreibt|stellt|ist)\b",
    r"\bwird ausgeführt als\b",
    r"\b(?:der|dein|diesen|den) prompt\b",
    r"\b(?:die|deine) (?:aufgabe|anweisung|eingabe)\b",
    r"\b(?:umgeschriebene|überarbeitete|verwandelte) (?:fassung|version|beschreibung)\b",
    r"\bgerne[,!]",
    r"\bnatürlich[,!]",
    r"\bwie (?:gewünscht|verlangt)\b",
)
_RED_FLAGS = (
    r"\bexotic\w*",
    r"\bmysterious\w*",
    r"\btimeless\w*",
    r"\bancient wisdom\b",
    r"\bmystical?\b",
    r"\botherworldly\b",
    r"\bauthentic (?:life|culture|people|tradition)\w*",
    r"\bsimple li(?:fe|ves)\b",
    r"\b(?:african|asian|oriental) (?:aesthetic|mysticism|flair|spirit)\w*",
    r"\bunchanged for centuries\b",
    r"\btribal\b",
    r"\bprimitive\b",
    r"\bexotisch\w*",
    r"\bgeheimnisvoll\w*",
    r"\bzeitlos\w*",
    r"\buralte\w* weisheit\w*",
    r"\bmystisch\w*",
    r"\bauthentische\w* (?:leben|kultur|menschen|tradition)\w*",
    r"\beinfache\w* leben\b",
    r"\b(?:afrikanisch|asiatisch|orientalisch)e\w* (?:ästhetik|mystik|flair|zauber)\w*",
    r"\bseit jahrhunderten unverändert\b",
    r"\bstammes\w*",
    r"\bprimitiv\w*",
)
_REFUSAL = (
    r"\bas an ai\b",
    r"\bi(?:'m| am) (?:sorry|unable|not able)\b",
    r"\bi (?:can ?not|can't|won't)\b",
    r"\bals ki\b",
    r"\bich kann (?:leider\b|(?:das|dir|dabei|diese\w*)\b.{0,40}\bnicht\b)",
    r"\b(?:tut mir leid|entschuldigung)\b",
    r"\bich darf\b.{0,40}\bnicht\b",
)
_MARKDOWN = (
    (r"\n", "is one paragraph: no line breaks"),
    (r"\*\*|__|(?<!\w)\*(?=\S)|`", "is plain text: no markdown"),
    (r"^\s*#", "has no headline"),
    (r"^\s*(?:[-*•–]|\d+[.)])\s", "is no list"),
    (r"^[^.!?:]{1,60}:\s*$", "has no headline"),
    (r"^\s*(?:title|titel|headline|überschrift|description|beschreibung|answer|antwort)\s*:", "has no headline or label"),
    (r"[\x00-\x08\x0b-\x1f\x7f]", "has no control characters"),
)


def words(text: str) -> list[str]:
    """Letters only, case folded, composed (NFC)."""
    return re.findall(r"[^\W\d_]+", unicodedata.normalize("NFC", text).casefold())


def content_words(text: str) -> list[str]:
    """Words of three letters or more that carry the text, in order, each once."""
    return list(dict.fromkeys(word for word in words(text) if len(word) > 2 and word not in _STOP))


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
    never held against the text. K1 is silent when the context is in another language than the text.
    """
    text = text.strip()
    return {
        "K1_vocabulary": _vocabulary(text, input, context, task),
        "K2_content": _content(text, input),
        "K3_style_of": _phrase(_STYLE_OF, text, input, "show how it is made instead of naming a style"),
        "K4_meta": _phrase(_META, text, input, "write the result only, no words about it"),
        "K5_form": _form(text, min_words, max_words),
        "K6_language": _language(text, language),
        "K7_red_flags": _phrase(_RED_FLAGS, text, input, "say what is there, in the tone of any other place"),
        "K10_copy": _copy(text, input),
        "K12_wiki": "leave out <wiki> markers" if re.search(r"</?\s*wiki\b", text, re.IGNORECASE) else None,
        "truncated": None
        if re.search(r"[.!?…][\"'”“»«’)]*$", text)
        else "the text stops in the middle: end with a full sentence",
        "refusal": _phrase(_REFUSAL, text, input, "answer with the text itself"),
    }


def passes(
    text: str, *, input: str, context: str, language: str | None, min_words: int, max_words: int, task: str = ""
) -> bool:
    """True when no rule is broken."""
    checks = check(text, input=input, context=context, language=language, min_words=min_words, max_words=max_words, task=task)
    return not any(checks.values())


def _vocabulary(text: str, input: str, context: str, task: str) -> str | None:
    if language_of(context) is None or language_of(context) != language_of(text):
        return None
    elsewhere = words(input) + words(task)
    craft = [word for word in content_words(context) if not _among(word, elsewhere)]
    used = [word for word in craft if _among(word, words(text))]
    wanted = min(CRAFT_WORDS, len(craft))
    if len(used) >= wanted:
        return None
    return f"{len(used)} words of the context are used, {wanted} at least are wanted, such as {', '.join(craft[:6])}"


def _content(text: str, input: str) -> str | None:
    wanted = content_words(input)
    written = words(text)
    lost = [word for word in wanted if not _among(word, written)]
    if not wanted or 1 - len(lost) / len(wanted) >= KEPT:
        return None
    return f"of what the prompt names, this is gone: {', '.join(lost[:8])}"


def _phrase(patterns: tuple[str, ...], text: str, input: str, instead: str) -> str | None:
    typed = " ".join(input.casefold().split())
    for pattern in patterns:
        for match in re.finditer(pattern, " ".join(text.casefold().split())):
            if match[0] not in typed:
                return f"{match[0]!r}: {instead}"
    return None


def _form(text: str, min_words: int, max_words: int) -> str | None:
    for pattern, rule in _MARKDOWN:
        if re.search(pattern, text, re.IGNORECASE | re.MULTILINE):
            return f"the text {rule}"
    number = len(text.split())
    if not min_words <= number <= max_words:
        return f"the text has {number} words; {min_words} to {max_words} are wanted"
    return None


def _language(text: str, language: str | None) -> str | None:
    if language not in ("de", "en") or language_of(text) == language:
        return None
    return f"write in the language of the prompt, {'German' if language == 'de' else 'English'}"


def _copy(text: str, input: str) -> str | None:
    written, typed = set(words(text)), set(words(input))
    if written and len(written - typed) / len(written) >= NEW:
        return None
    return "the text repeats the prompt and adds nothing"


def _among(word: str, others: list[str]) -> bool:
    return any(_same(_folded(word), _folded(other)) for other in others)


def _folded(word: str) -> str:
    """Without umlauts: `Apfel` and `Äpfel` begin alike."""
    return "".join(letter for letter in unicodedata.normalize("NFD", word) if not unicodedata.combining(letter))


def _same(one: str, other: str) -> bool:
    """One stem, as far as the beginnings of words tell: `fliegt` and `fliegen`, `child` and `children`."""
    if one == other:
        return True
    short, long = sorted((len(one), len(other)))
    shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    return (short == shared == 3 and long <= 5) or (shared >= 4 and shared >= 0.7 * short and shared >= 0.5 * long)
