"""Numbers that prove themselves: IBANs (ISO 13616, mod 97) and payment cards (Luhn)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from goldsmith.privacy.finding import Text, hints

Span = tuple[int, int]

# Characters of an IBAN by country, from the registry of ISO 13616.
_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28, "CH": 21,
    "CR": 22, "CY": 24, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27,
    "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "LY": 25, "MC": 27,
    "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PS": 29, "PT": 25,
    "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23,
    "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
_IBAN_START = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[ .-]{0,2}\d[ .]?\d")
_GAP = " .-/_\t\n:"
_ACCOUNT = re.compile(
    r"\b(?:iban|konto(?:nummer|nr|verbindung)?|bankkonto|bankverbindung|account number|bank account|blz|bankleitzahl|sort code)\b"
    r"[^\d\n]{0,30}?((?:[a-z]{2}[ .-]?)?\d(?:[ .-]?\d){5,29})",
)
_ACCOUNT_WORDS = hints(
    "iban konto kontonummer kontonr kontoverbindung bankkonto bankverbindung account blz bankleitzahl sort".split()
)
_GOODS = re.compile(r"\b(?:ean|isbn|issn|gtin|upc|bar ?code|strichcode|seriennummer|serial)\W*(?:nr\.? ?|number )?$")
_CARD = re.compile(r"(?<![\d.,+])\d(?:[ .-]{0,2}\d){12,18}(?!\d)")


def ibans(text: Text) -> Iterator[Span]:
    """Valid IBANs however they are spaced; and the number after a word for an account, valid or not: a mistyped one is one."""
    if not text.has_digit:
        return
    for match in _IBAN_START.finditer(text.plain):
        length = _LENGTHS.get(text.plain[match.start() : match.start() + 2].upper())
        end = length and _take(text.plain, match.start(), length)
        if end and _mod_97(text.plain[match.start() : end]):
            yield match.start(), end
    if not _ACCOUNT_WORDS.isdisjoint(text.cues):
        for match in _ACCOUNT.finditer(text.lower):
            yield match.span(1)


def cards(text: Text) -> Iterator[Span]:
    """Numbers of 13 to 19 digits that pass Luhn and begin as cards do (2 to 6)."""
    for match in _CARD.finditer(text.plain) if text.has_digit else ():
        digits = re.sub(r"\D", "", match[0])
        if _GOODS.search(text.lower, max(0, match.start() - 12), match.start()):
            continue
        if digits[0] in "23456" and len(set(digits)) > 1 and _luhn(digits):
            yield match.span()


def _take(plain: str, start: int, length: int) -> int | None:
    """Where `length` letters and digits end, gaps of one or two characters left out; None when they do not end there."""
    taken, gap = 0, 0
    for place in range(start, min(len(plain), start + 3 * length)):
        char = plain[place]
        if char.isascii() and char.isalnum():
            taken, gap = taken + 1, 0
            if taken == length:
                following = plain[place + 1 : place + 2]
                return None if following.isascii() and following.isdigit() else place + 1
        elif char in _GAP and gap < 2:
            gap += 1
        else:
            return None
    return None


def _mod_97(iban: str) -> bool:
    compact = "".join(char for char in iban.upper() if char.isalnum())
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def _luhn(digits: str) -> bool:
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0
