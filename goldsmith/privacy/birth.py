"""Dates of birth: a day beside a word for being born."""

from __future__ import annotations

import re
from collections.abc import Iterator

from goldsmith.privacy.finding import Text, hints

Span = tuple[int, int]

_MONTH = (
    "januar|jänner|jan|februar|feber|feb|märz|maerz|mär|april|apr|mai|juni|juno|jun|juli|julei|jul|august|aug|september|sept|sep|oktober|okt|"
    "november|nov|dezember|dez|january|february|march|mar|may|june|july|october|oct|december|dec"
)
_ORDINAL_DE = (
    r"(?:ein|zwei|drei|vier|fünf|sechs|sieben|acht|neun)?(?:und)?(?:zwanzig|dreißig|dreissig)st(?:en?|er)|"
    r"(?:ers|zwei|drit|vier|fünf|sechs|sieb|sieben|ach|neun|zehn|elf|zwölf|dreizehn|vierzehn|fünfzehn|sechzehn|siebzehn|achtzehn|neunzehn)t(?:en?|er)"
)
_ORDINAL_EN = (
    r"(?:twenty|thirty)[- ]?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)|twentieth|thirtieth|first|second|third|"
    r"fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|thirteenth|fourteenth|fifteenth|sixteenth|seventeenth|eighteenth|nineteenth"
)
_DAY = rf"(?:\d{{1,2}}(?:\s?\.|st|nd|rd|th)?|{_ORDINAL_DE}|{_ORDINAL_EN})"
_YEAR = r"(?:\s?,?\s?(?:im jahr |in |of )?(?:'?\d{2,4}\b|(?:zweitausend|neunzehnhundert|two thousand|twenty|nineteen)[\w -]{0,24}))?"
_DATE = re.compile(
    r"\b(?:\d{1,2}\s?[./\\-]\s?\d{1,2}\s?[./\\-]\s?(?:\d{4}|\d{2})\b|\d{4}\s?[./-]\s?\d{1,2}\s?[./-]\s?\d{1,2}\b"
    r"|\d{1,2}\s?\.\s?\d{1,2}\s?\.(?!\d)|\d{1,2}\.\d{1,2}\b(?!\.?\d)|\d{1,2}/\d{1,2}\b(?!/?\d)|\d{1,2} \d{1,2} (?:19|20)\d{2}\b"
    rf"|(?:the )?{_DAY}(?: day)?[ -]?(?:of )?(?:{_MONTH})\b\.?{_YEAR}|(?:{_MONTH})\.?[ -](?:the )?{_DAY}(?!\w){_YEAR}"
    rf"|(?:{_ORDINAL_DE})[ .](?:{_ORDINAL_DE})\b{_YEAR})"
)
_BORN = re.compile(
    r"\b(?:geb(?:oren|\.|urtsdatum|urtstags?\w*|urtstach|\b)|geburts(?:tag\w{0,2}|datum)|geburt|born|birth ?day|birthdays|birth ?date|date of birth|dob|b-?day|"
    r"burzeltag\w*|wiegenfest|zur welt|auf die welt|on (?:planet )?earth|into the world|turn(?:s|ed|ing)?|werd(?:e|en)|wird|wurde|cake day|alt|be)\b|[*★]\s?(?=\d)"
)
# "werde am 3. Mai elf": an age makes a birthday of these; the others need none.
_NEEDS_AGE = re.compile(r"turn|werd|wird|wurde|alt|be$")
_AGE = re.compile(
    r"\b(?:[4-9]|1\d|2[0-9]|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|dreizehn|vierzehn|fünfzehn|sechzehn|siebzehn|achtzehn|four|five|six|seven|"
    r"eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen)\b(?!\s?[.:/]\s?\d|[.]\s|st\b|nd\b|rd\b|th\b)"
)
_HINTS = hints(
    """geboren geb geburt geburtstag geburtstags geburtstage geburtstach geburtsdatum born birthday birthdays birthdate birth dob bday burzeltag
    wiegenfest welt world earth turn turns turned turning werde werden wird wurde day alt be""".split()
)
_MONTHS = hints(_MONTH.split("|"))
NEAR = 45  # characters between the day and its word; farther apart they seldom belong together


def birth_dates(text: Text) -> Iterator[Span]:
    if (_HINTS.isdisjoint(text.cues) and "*" not in text.plain) or not (text.has_digit or not _MONTHS.isdisjoint(text.cues)):
        return
    cues = list(_BORN.finditer(text.lower))
    for date in _DATE.finditer(text.lower) if cues else ():
        for cue in cues:
            gap = max(date.start() - cue.end(), cue.start() - date.end())
            if gap > NEAR:
                continue
            between = text.lower[min(date.end(), cue.end()) : max(date.start(), cue.start())]
            if re.search(r"[.!?]\s+\w{3,}.*[.!?]", between):
                continue
            around = text.lower[max(0, min(date.start(), cue.start())) : max(date.end(), cue.end()) + 20]
            if _NEEDS_AGE.match(cue[0]) and not _AGE.search(around.replace(date[0], " ")):
                continue
            yield date.span()
            break
