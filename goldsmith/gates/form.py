"""K5 and K12: one plain paragraph, as long as it was asked for, without markers."""

from __future__ import annotations

import re

from goldsmith.gates.words import sentences

EMOJI = r"[\U0001F000-\U0001FAFF\u2600-\u27BF\u2B50\u2B55\uFE0F]"

_PLAIN = (
    (r"\n", "is one paragraph: no line breaks"),
    (
        r"\*\*|__|~~|(?<![\w*])\*(?=\S)[^*]*(?<=\S)\*(?![\w*])|(?<!\w)_(?=\S)[^_]*(?<=\S)_(?!\w)|`|(?<!\w)\*(?=\S)",
        "is plain text: no markdown",
    ),
    (r"!?\[[^\]]*\]\([^)]*\)|\bhttps?://", "has no links"),
    (r"^\s*#{1,6}(?:\s|\w)|\s#[a-zäöü]\w+", "has no headline and no hashtags"),
    (r"^\s*(?:[-*•–—▪►‣·+]|1[.)]|\(?[a1]\))\s", "is no list"),
    (r"\s(?:•|▪|►|‣)\s", "is no list"),
    (r"^\s*\|.*\||\|\s*-{3,}", "is no table"),
    (r"^\s*(?:-{3,}|={3,}|\*{3,})\s*$", "has no rules"),
    (r"^[^.!?:]{1,60}:\s*$", "has no headline"),
    (
        r"^\W*(?:title|titel|headline|heading|überschrift|description|beschreibung|answer|antwort|prompt|output|ausgabe|ergebnis|result|text|image"
        r"|bild|bildbeschreibung|(?:image|scene|picture|video|song|audio)[ -](?:description|prompt|caption|idea|concept)|(?:bild|szenen|video|lied)-?(?:prompt|idee|konzept|text)|scene|szene|response|caption|bildunterschrift|input|eingabe|context|kontext|task|aufgabe|assistant|user)\s*:",
        "has no headline or label",
    ),
    (r"(?:(?:^|[.!?;|\n] ?)\W*[A-ZÄÖÜ][\w-]+(?: [\w-]+)?: ?[^:]{1,120}){2,}", "has no headline or label"),
    (r"^\s*[\[{].*[\]}]\s*$|\{\s*\"\w+\"\s*:", "is no JSON"),
    (r"</?(?!\s*/?\s*wiki)[a-z][a-z0-9]*(?:\s[^<>]*)?/?>|&(?:nbsp|amp|quot|#\d+);|<!--", "has no HTML"),
    (r"\$[^$ ][^$]*\\[a-z]+|\\(?:text|frac|begin)\b|\\n", "is plain text: no markup"),
    (r"[\x00-\x08\x0b-\x1f\x7f]", "has no control characters"),
)
_PATTERNS = [
    (re.compile(pattern, re.IGNORECASE | re.MULTILINE | re.DOTALL if "JSON" in rule else re.IGNORECASE | re.MULTILINE), rule)
    for pattern, rule in _PLAIN
]
_IN_QUOTES = re.compile(
    r"(?:\"[^\"]*\"|“[^“”]*”|„[^„“”]*[“”]|«[^«»]*»|»[^«»]*«|'[^']*'(?!\w)|‘[^‘’]*’|‚[^‚‘]*‘)[.!?]?", re.DOTALL
)

_WIKI = re.compile(r"(?:<|&lt;|\[|\{\{)\s*/?\s*wiki\b|\bwiki\s+lang\s*=|</\s*wiki", re.IGNORECASE)


def plain_text(text: str, typed: str) -> str | None:
    for pattern, rule in _PATTERNS:
        if pattern.search(text):
            return f"the text {rule}"
    if _IN_QUOTES.fullmatch(text) and len(text.split()) > 3:
        return "the text is not put in quotation marks"
    emoji = next((sign for sign in re.findall(EMOJI, text) if sign not in typed), None)
    return f"the text has no emoji: {emoji}" if emoji else None


def wiki(text: str) -> str | None:
    return "leave out <wiki> markers" if _WIKI.search(text) else None


# -- length, as the job or the context wants it
_ONE_BY_ONE = """
null/zero eins/one zwei/two drei/three vier/four fünf/five sechs/six sieben/seven acht/eight neun/nine zehn/ten elf/eleven
zwölf/twelve dreizehn/thirteen vierzehn/fourteen fünfzehn/fifteen sechzehn/sixteen siebzehn/seventeen achtzehn/eighteen
neunzehn/nineteen
"""
_TEN_BY_TEN = """
null/zero zehn/ten zwanzig/twenty dreißig/thirty vierzig/forty fünfzig/fifty sechzig/sixty siebzig/seventy achtzig/eighty
neunzig/ninety hundert/hundred
"""
_ONES = {word: number for number, pair in enumerate(_ONE_BY_ONE.split()) for word in pair.split("/")}
_TENS = {word: 10 * number for number, pair in enumerate(_TEN_BY_TEN.split()) for word in pair.split("/")}
_NUMBERS = (
    _ONES
    | _TENS
    | {
        "einhundert": 100,
        "one hundred": 100,
        "a hundred": 100,
        "zweihundert": 200,
        "two hundred": 200,
        "dreihundert": 300,
        "three hundred": 300,
    }
)
_NUMBER = rf"(\d{{1,4}}|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
_UNIT = r"[ -]?(?:words?|wörtern?|worten?)\b"

_RANGE = re.compile(rf"\b{_NUMBER}\s*(?:-|–|—|to|bis|and|und)\s*(?:zu )?{_NUMBER}{_UNIT}", re.IGNORECASE)
_MOST = re.compile(
    r"\b(?:at most|no more than|not more than|up to|a maximum of|maximum(?: of)?|max\.?|under|below|fewer than|less than|within|not exceed|no longer than|not longer than"
    rf"|höchstens|maximal|bis zu|nicht mehr als|nicht länger als|unter|weniger als|allenfalls) {_NUMBER}{_UNIT}|\b{_NUMBER}{_UNIT} (?:at most|at the most|or (?:fewer|less)|maximum|max|höchstens|maximal|oder weniger)",
    re.IGNORECASE,
)
_LEAST = re.compile(
    r"\b(?<!no )(?<!not )(?<!nicht )(?:at least|no fewer than|no less than|not less than|a minimum of|minimum(?: of)?|more than|mindestens|wenigstens|nicht weniger als|mehr als|minimal)"
    rf" {_NUMBER}{_UNIT}|\b{_NUMBER}{_UNIT} (?:at least|or more|minimum|mindestens|oder mehr)",
    re.IGNORECASE,
)
_EXACT = re.compile(rf"\b(?:exactly|precisely|genau|exakt) {_NUMBER}{_UNIT}", re.IGNORECASE)
_ABOUT = re.compile(
    rf"\b(?:about|around|roughly|approximately|some|etwa|ungefähr|rund|circa|ca\.|in|use|write|of|mit|aus|von|schreibe) {_NUMBER}{_UNIT}",
    re.IGNORECASE,
)
_NEAR = 0.2  # "about 50 words" is 40 to 60; a guess


def wanted_words(context: str, min_words: int, max_words: int) -> tuple[int, int]:
    """The numbers of words that the context names; where it names none, those of the job."""
    if both := _RANGE.search(context):
        low, high = sorted((_value(both[1]), _value(both[2])))
        return low, high
    if exact := _EXACT.search(context):
        return _value(exact[1]), _value(exact[1])
    most, least = _MOST.search(context), _LEAST.search(context)
    if most or least:
        low = _value(least[1] or least[2]) if least else min_words
        high = _value(most[1] or most[2]) if most else max_words
        return (min(low, high) if not least else low), (max(low, high) if not most else high)
    if about := _ABOUT.search(context):
        number = _value(about[1])
        return int(number * (1 - _NEAR)), round(number * (1 + _NEAR))
    return min_words, max_words


def says_length(sentence: str) -> bool:
    """The sentence says how many words are wanted."""
    return any(pattern.search(sentence) for pattern in (_RANGE, _MOST, _LEAST, _EXACT, _ABOUT))


def _value(number: str) -> int:
    return int(number) if number.isdigit() else _NUMBERS[number.casefold()]


def length(text: str, context: str, min_words: int, max_words: int) -> str | None:
    low, high = wanted_words(context, min_words, max_words)
    number = len(text.split())
    if not low <= number <= high:
        return f"the text has {number} words; {low} to {high} are wanted"
    said = [" ".join(sentence.split()) for sentence in sentences(text) if len(sentence.split()) > 3]
    if len(said) - len(set(said)) >= 2:
        return "the text says the same sentence again and again"
    return None
