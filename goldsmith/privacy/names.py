"""Names of people: lists of names, and frames that say that a name comes next.

A word of the lists counts alone where it is nothing but a name. A name that is also a word ("Rose", "Max", "Stern") counts in a
frame only ("ich heiße …", "my friend …", "Frau …", beside a family name), and a word of no list counts where the frame leaves
no other reading. Painters, figures of tales and whoever else is known to everybody are nobody's secret: they are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from goldsmith.privacy.finding import WORD, Text
from goldsmith.privacy.frames import (
    AFTER,
    ARTICLE_BEFORE,
    CALLED,
    CALLED_OUT,
    CALLED_TO,
    FULL_TITLE,
    GOES_ON,
    GREETED,
    I_AM,
    KIN,
    KIN_BARE,
    NAMED,
    RELATIVE,
    SELF,
    SIGNED,
    TITLE,
    WITH_I,
    matches,
)
from goldsmith.privacy.glance import TYPED, worth_a_look
from goldsmith.privacy.lists import fold, words
from goldsmith.privacy.lists.vocabulary import is_word
from goldsmith.privacy.people import (
    FAMILY_END,
    GERMAN_NOUN,
    PARTICLES,
    STOP,
    SURNAME_END,
    TOKEN,
    company,
    given,
    lists,
    public_names,
    token_key,
)

Span = tuple[int, int]

_GODS = frozenset("god goddess gott goettin gottin saint sankt heilige heiliger heiligen".split())
_STOP_CAPITAL = frozenset("kann mag sal an so da do die der das hat ist".split())
_NOT_TITLE = frozenset(
    "holle holla mond luna sol sonne tod frühling fruehling natur maus igel hase bär baer katze schnecke biene ente frosch spinne schmetterling malzahn nilsson bean claus right wrong universe president world".split()
)


class _Token(NamedTuple):
    start: int
    end: int
    raw: str
    key: str
    """Folded, without a genitive."""
    capital: bool


def names(text: Text, language: str | None) -> Iterator[Span]:
    if not worth_a_look(text):
        return
    first, last, ambiguous, common, alone = lists()
    cased = text.plain != text.lower and not (text.plain.isupper() and len(text.plain) > 3)
    tokens = _tokens(text.plain, cased)
    if not tokens:
        return
    starts = {token.start: place for place, token in enumerate(tokens)}
    public = _public_places(text, tokens)
    found: set[int] = set()

    def known(token: _Token) -> bool:
        return any(part in first or part in last for part in [token.key, *token.key.split("-")])

    def common_word(token: _Token) -> bool:
        return token.key in common or fold(token.raw) in common

    def sure(place: int) -> bool:
        """Behind a frame that leaves no other reading."""
        token = tokens[place]
        if place in public or token.key in STOP or len(token.raw) < 2:
            return False
        return not common_word(token) or (token.capital and cased and token.key in given())

    def likely(place: int) -> bool:
        """Behind a frame that a name usually follows, but other words may."""
        token = tokens[place]
        if place in public or common_word(token) or len(token.raw) < 2:
            return False
        if known(token):
            return token.capital or token.key not in ambiguous
        return (token.capital or len(token.raw) > 3) and not is_word(token.raw)

    def kin(place: int) -> bool:
        """Behind somebody's sister or friend a capitalised first name is one even when it is a word as well."""
        return likely(place) or (place not in public and tokens[place].capital and tokens[place].key in first - _STOP_CAPITAL)

    def certain_name(place: int) -> bool:
        token = tokens[place]
        return place not in public and not common_word(token) and known(token) and (token.capital or token.key not in ambiguous)

    def given_name(place: int) -> bool:
        token = tokens[place]
        return place not in public and not common_word(token) and token.key in given() and (token.capital or len(token.raw) > 3)

    for pattern, accept in ((SELF, sure), (KIN, kin), (NAMED, likely), (WITH_I, likely)):
        for match in matches(pattern, text):
            place = starts.get(match.end())
            if place is not None and accept(place):
                found.add(place)
    for pattern in (I_AM, KIN_BARE, SIGNED, GREETED):
        for match in matches(pattern, text):
            place = starts.get(match.end())
            if place is None:
                continue
            token = tokens[place]
            if token.capital and language != "en" and match[0].startswith("im "):
                continue  # a noun: "im Krug"
            is_given = token.key in given() and place not in public
            if (
                (certain_name(place) and (token.key not in ambiguous or pattern is KIN_BARE or _ends(text, token)))
                or (pattern is KIN_BARE and cased and language != "de" and likely(place))
                or (pattern is KIN_BARE and is_given and token.capital and RELATIVE.search(match[0]))
                or (
                    pattern is I_AM
                    and not known(token)
                    and len(token.raw) > 3
                    and len(text.plain) < TYPED
                    and not any(map(is_word, (token.raw, token.key, *(part for part in token.raw.split("-") if len(part) > 3))))
                )
                or (pattern is GREETED and is_given and token.capital and text.plain[token.end : token.end + 1] == ",")
                or (
                    pattern is I_AM
                    and is_given
                    and (token.key not in common or (token.capital and not match[0].startswith("im ")))
                    and GOES_ON.match(text.lower, token.end)
                )
            ):
                found.add(place)
    typed = len(text.plain) < TYPED
    for match in CALLED.finditer(text.lower) if cased and typed else ():
        place = starts.get(match.end())
        if place is None or place in public or not tokens[place].capital:
            continue
        may_be = given_name(place) or (CALLED_OUT.search(match[0]) and tokens[place].key in first)
        if may_be and CALLED_TO.match(text.lower, tokens[place].end):
            found.add(place)
    for match in matches(TITLE, text):
        place = starts.get(match.end())
        if place is None or place in public or tokens[place].key in _NOT_TITLE:
            continue
        token = tokens[place]
        if token.key in STOP and not (token.capital and cased and token.key in last):
            continue
        before = text.lower[max(0, match.start() - 14) : match.start()]
        if token.capital and cased and (text.plain[match.start()].isupper() or not ARTICLE_BEFORE.search(before)):
            if not (token.key in common and token.key not in last):
                found.add(place)
        elif (
            not (cased and token.capital)
            and not ARTICLE_BEFORE.search(before)
            and not common_word(token)
            and (known(token) or not is_word(token.raw) or SURNAME_END.search(token.key) or FULL_TITLE.match(match[0]))
        ):
            found.add(place)
    for place, token in enumerate(tokens):
        key = token.key
        if key not in alone and "-" not in key and not (typed and (token.capital or known(token))):
            continue
        if place in found or place in public:
            continue
        parts = key.split("-")
        if key in alone or (len(parts) > 1 and all(part in first for part in parts)):
            if (token.capital and cased) or len(key) > 3 or key in words("extra"):
                found.add(place)
        elif typed and not common_word(token) and AFTER.match(text.lower, token.end):
            before = text.lower[max(0, token.start - 8) : token.start]
            if (
                known(token)
                and (token.capital or key not in ambiguous)
                and not re.search(r"\b(?:der|die|das|ein|eine|the|a|an)\s$", before)
            ):
                found.add(place)
    if cased and typed:
        _unknown_words(text, tokens, found, public)
    _full_names(tokens, found, public, cased)
    _spread(text, tokens, found, lambda place: likely(place) or certain_name(place) or given_name(place))
    yield from _spans(text, tokens, found, public, cased)


def _tokens(plain: str, cased: bool) -> list[_Token]:
    return [
        _Token(match.start(), match.end(), match[0], token_key(match[0]), cased and match[0][0].isupper())
        for match in TOKEN.finditer(plain)
    ]


def _public_places(text: Text, tokens: list[_Token]) -> set[int]:
    beginnings, pattern = public_names()
    places: set[int] = set()
    for place, token in enumerate(tokens):
        if place not in places and not beginnings.isdisjoint(WORD.findall(token.raw.lower())):
            match = pattern.match(text.lower, token.start)
            while match is not None and place < len(tokens) and tokens[place].start < match.end():
                places.add(place)
                place += 1
        beside = company().get(token.key)
        if beside is not None and any(other.key in beside for other in tokens if other is not token):
            places.add(place)
        if place < len(tokens) - 1 and token.key in _GODS:
            places.add(place + 1)
    return places


def _ends(text: Text, token: _Token) -> bool:
    return not text.plain[token.end : token.end + 2].strip() or text.plain[token.end] in ",!.:("


_NO_NAME_AFTER = frozenset(
    """der die das den dem des ein eine einen einem einer eines kein keine a an the this that these those in im nach aus over near at ins am
    zwei drei vier fünf sechs viele einige alle two three four five many some no every each style stil called genannt city stadt insel island
    mount lake river planet land""".split()
)


def _unknown_words(text: Text, tokens: list[_Token], found: set[int], public: set[int]) -> None:
    """Capitalised words of no dictionary, nor made of two that are in one: in a typed text these are names."""
    for place, token in enumerate(tokens):
        if place in found or place in public or not token.capital or len(token.raw) < 4 or token.raw.isupper():
            continue
        if place and tokens[place - 1].key in _NO_NAME_AFTER and text.plain[token.start - 1] == " ":
            continue
        if text.plain[token.end : token.end + 1] == "-" or (
            "." in text.plain[token.end : token.end + 1] + " " and text.plain[token.end + 1 : token.end + 2].isalnum()
        ):
            continue
        parts = token.raw.split("-")
        if len(parts) > 1 and (max(map(len, parts)) > 4 or is_word(parts[0]) or any(part[0].isupper() for part in parts[1:])):
            continue  # a compound, as Ghibli-esque, where Hyun-woo is none
        if (
            not (is_word(token.raw) or is_word(token.key))
            and token.key not in words("ambiguous")
            and token.key not in words("places")
        ):
            found.add(place)


def _full_names(tokens: list[_Token], found: set[int], public: set[int], cased: bool) -> None:
    """A first name, however many meanings it has, before a family name; and two capitalised words of which the second can be
    nothing but a family name."""
    first, last, ambiguous, common, _ = lists()
    if not cased:
        return
    for place, (one, two) in enumerate(pairwise(tokens)):
        if place in public or place + 1 in public or two.start - one.end != 1 or not (one.capital and two.capital):
            continue
        family = (two.key in last and two.key not in ambiguous and two.key not in common) or bool(
            SURNAME_END.search(two.key) and not GERMAN_NOUN.search(two.raw)
        )
        is_given = one.key in first and one.key not in common
        if (
            is_given
            and (
                family
                or two.key in last
                or (FAMILY_END.search(two.key) and not GERMAN_NOUN.search(two.raw) and two.key not in common)
            )
        ) or (family and two.key in last and one.key not in common and one.key not in ambiguous):
            found.update((place, place + 1))


def _spread(text: Text, tokens: list[_Token], found: set[int], member: Callable[[int], bool]) -> None:
    """Along lists, forward and back: "Lena, Bo und Tariq"."""
    if not found:
        return
    pairs = [
        (place, place + step)
        for place in range(len(tokens) - 1)
        for step in (1, 2)
        if place + step < len(tokens) and _joined(text, tokens[place : place + step + 1])
    ]
    for one, two in pairs:
        if one in found and two not in found and member(two):
            found.add(two)
    for one, two in reversed(pairs):
        if two in found and one not in found and member(one):
            found.add(one)


def _joined(text: Text, tokens: list[_Token]) -> bool:
    """Two with a comma or a sign between them, or three with "and" in the middle."""
    gap = text.plain[tokens[0].end : tokens[-1].start]
    if len(tokens) == 3:
        return tokens[1].key in ("und", "and", "oder", "or") and not re.search(r"[.!?:;]", gap)
    sign = gap.strip()
    return sign in (",", "&", "+", "/") or (0 < len(sign) < 4 and not re.search(r"[\x00-\x7f\w]", sign))


def _spans(text: Text, tokens: list[_Token], found: set[int], public: set[int], cased: bool) -> Iterator[Span]:
    """Neighbours that are one name as one finding, family names behind first names included."""
    first, last, ambiguous, common, _ = lists()
    place = 0
    while place < len(tokens):
        if place not in found:
            place += 1
            continue
        start, end = tokens[place].start, place
        while end + 1 < len(tokens) and end + 1 not in public:
            token = tokens[end + 1]
            gap = text.plain[tokens[end].end : token.start]
            if gap.strip(" .") or len(gap) > 2:
                break
            if (
                end + 1 in found
                or (token.key in PARTICLES and end + 2 < len(tokens) and tokens[end + 2].key in last)
                or (
                    token.capital
                    and token.key not in common
                    and (token.key in last or token.key in first or SURNAME_END.search(token.key))
                )
                or (not cased and token.key in last and token.key not in ambiguous and token.key not in common)
            ):
                end += 1
            else:
                break
        yield start, tokens[end].end
        place = end + 1
