"""Dates of birth: a day beside a word for being born."""

from __future__ import annotations

import re
from collections.abc import Iterator

from goldsmith.privacy.finding import Text, hints

Span = tuple[int, int]

_MONTH = (
    "januar|jänner|jan|februar|feber|feb|märz|maerz|mär|april|apr|mai|juni|juno|jun|juli|julei|jul|august|aug|september|sept|sep|oktober|okt|"
    "november|nov|dezember|dez|january|february|march|mar|may|june|july|october|oct|december|dec|"
    # the other languages of our classrooms
    "ocak|şubat|mart|nisan|mayıs|haziran|temmuz|ağustos|eylül|ekim|kasım|aralık|stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|"
    "września|października|listopada|grudnia|janvier|février|mars|avril|juin|juillet|août|septembre|octobre|novembre|décembre|gennaio|"
    "febbraio|marzo|aprile|maggio|giugno|luglio|agosto|settembre|ottobre|dicembre|enero|febrero|abril|mayo|junio|julio|septiembre|octubre|"
    "noviembre|diciembre|января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря|січня|лютого|березня|квітня|"
    "травня|червня|липня|серпня|вересня|жовтня|листопада|грудня"
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
_YEAR = r"(?:\s?,?\s?(?:im jahre? |in |of |de |del )?(?:'?\d{2,4}\b|(?:zweitausend|neunzehnhundert|two thousand|twenty|nineteen)[\w -]{0,24}))?"
_DATE = re.compile(
    r"\b(?:\d{1,2}\s?[./\\-]\s?\d{1,2}\s?[./\\-]\s?(?:\d{4}|\d{2})\b|\d{4}\s?[./-]\s?\d{1,2}\s?[./-]\s?\d{1,2}\b"
    r"|\d{1,2}\s?\.\s?[ivx]{1,4}\.\s?\d{2,4}\b"
    r"|\d{1,2}\s?\.\s?\d{1,2}\s?\.(?!\d)|\d{1,2}\.\d{1,2}\b(?!\.?\d)|\d{1,2}/\d{1,2}\b(?!/?\d)|\d{1,2} \d{1,2} (?:19|20)\d{2}\b"
    rf"|(?:the )?{_DAY}(?: day)?[ -]?(?:of |de )?(?:{_MONTH})\b\.?{_YEAR}|(?:{_MONTH})\.?[ -](?:the )?{_DAY}(?!\w){_YEAR}"
    rf"|(?:{_ORDINAL_DE})[ .](?:{_ORDINAL_DE})\b{_YEAR})"
)
_BORN = re.compile(
    r"\b(?:geb(?:oren|\.|urtsdatum|urtstags?\w*|urtstach|\b)|geburts(?:tag\w{0,2}|datum)|geburt|born|birth ?day|birthdays|birth ?date|date of birth|dob|b-?day|"
    r"burzeltag\w*|wiegenfest|zur welt|auf die welt|on (?:planet )?earth|in(?:to| to)? th(?:e|is) world|turn(?:s|ed|ing)?|werde?|werden|wird|wurde|cake ?day|kuchentag|alt|be|"
    r"geburtstags\w+|gebor[en]n?|jebor[en]n?|geboan|(?:januar|februar|märz|april|mai|juni|juli|august|september|oktober|november|dezember|sonntags|glücks)kind|ehrentag|birthdate|birth|doğum|doğdum|urodzi(?:n\w*|ł\w*|ny)|née?|anniversaire|nat[oa]|compleanno|nac[ií]|nacid[oa]|"
    r"cumple(?:años)?|naissance|рожд\w*|родил\w*|народ\w*|(?:mein|my) (?:großer |besonderer |big |special |own )?(?:tag|day)|"
    r"(?:mein|ihr|sein|dein|unser)en (?:\d{1,3}\.|\w+(?:ten|sten))(?=\s*$|[,.!?]| und )|(?:my|her|his) (?:\d{1,3}th|\w+th)(?=\s*$|[,.!?]| and ))\b|[*★]\s?(?=\d)"
)
# Of these a whole date makes a birth, beside a word for a person: "seit 3.4.2012 gibt es mich".
_CAME = re.compile(
    r"\b(?:gib(?:t'?s|t es|t) (?:mich|ihn|sie|uns|meine?n?)|geschlüpft|hatched|storch\w*|stork|jahrgang|baujahr|licht der welt|(?:came|come) (?:out|along|home|to us)|arriv\w+|"
    r"ankunft|angekommen|gekriegt|bekommen|bekam\w*|(?:was|war) (?:noch )?(?:ein |a )?baby|newborn|neugeboren\w*|(?:schüler|personal|kinder)?ausweis|(?:reise|impf|mutter)?pass|passport|id card|"
    r"exist\w*|auf der welt|celebrate (?:me|him|her)|feier\w* (?:mich|ihn|sie)|begann mein|my life|mein leben|first (?:cry|breath|scream)|erste[rn]? (?:schrei|atemzug)|kreißsaal|krankenhaus|hospital|klinik)\b"
)
_PERSON = re.compile(
    r"\b(?:ich|mich|mir|mein\w*|unser\w*|uns|ihn|sie|er|i|me|my|we|us|our|he|she|him|her|his|bruder|schwester|brother|sister|mama|papa|mum|mom|dad|oma|opa)\b"
)
_WHOLE = re.compile(r"(?:19[3-9]|20[0-2])\d(?!\d)|\d[./-]\s?\d\d$")
# "werde am 3. Mai elf": an age makes a birthday of these; the others need none.
_NEEDS_AGE = re.compile(r"turn|werd|wird|wurde|alt|be$")
_AGE = re.compile(
    r"\b(?:[4-9]|1\d|2[0-9]|vier|fünf|sechs|sieben|acht|neun|zehn|elf|zwölf|dreizehn|vierzehn|fünfzehn|sechzehn|siebzehn|achtzehn|four|five|six|seven|"
    r"eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen)\b(?!\s?[.:/]\s?\d|[.]\s|st\b|nd\b|rd\b|th\b)"
)
_HINTS = hints(
    """geboren geb geburt geburtstag geburtstags geburtstage geburtstach geburtsdatum born birthday birthdays birthdate birth dob bday burzeltag
    wiegenfest welt world earth turn turns turned turning werde werd werden wird wurde day alt be januarkind februarkind märzkind aprilkind maikind junikind julikind augustkind septemberkind
    oktoberkind novemberkind dezemberkind sonntagskind kuchentag cakeday tag ehrentag geborn geboan jeboren jeborn
    doğum doğdum urodziny urodzin urodził urodziła urodziłem urodziłam né née anniversaire nato nata compleanno nací naci nacido nacida cumple
    cumpleaños naissance рождения родился родилась народився народилася народження meinen ihren seinen deinen unseren my her his
    gibt gibts geschlüpft hatched storch stork storchs jahrgang baujahr licht came come arrived arrives arrival ankunft angekommen gekriegt bekommen bekam
    baby newborn neugeboren neugeborene ausweis schülerausweis personalausweis kinderausweis pass reisepass impfpass mutterpass passport card existiere existieren
    exist existed celebrate feier feiern feiert life leben cry breath scream schrei atemzug kreißsaal krankenhaus hospital klinik""".split()
)
_ORDINALS = hints(
    "ersten zweiten dritten vierten fünften sechsten siebten siebenten achten neunten zehnten elften zwölften".split()
)
_MONTHS = hints(_MONTH.split("|"))
NEAR = 45  # characters between the day and its word; farther apart they seldom belong together


def birth_dates(text: Text) -> Iterator[Span]:
    if _HINTS.isdisjoint(text.cues) and "*" not in text.plain and "geburt" not in text.lower:
        return
    if not (text.has_digit or not text.cues.isdisjoint(_MONTHS | _ORDINALS)):
        return
    cues = list(_BORN.finditer(text.lower))
    came = _PERSON.search(text.lower) and _CAME.search(text.lower)
    for date in _DATE.finditer(text.lower) if cues or came else ():
        if came and _WHOLE.search(date[0]):
            yield date.span()
            continue
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
