"""Whether a text can hold somebody's name at all: most cannot, and looking words up is cheap where patterns are not.

`worth_a_look` says yes too often, never no where `names` would find something: each of its conditions is a wider one of there.
"""

from __future__ import annotations

import re

from goldsmith.privacy.finding import WORD, Text
from goldsmith.privacy.frames import AFTER, CALLED_TO, GREETED, I_AM, KIN, KIN_BARE, NAMED, SELF, SIGNED, TITLE, WITH_I, matches
from goldsmith.privacy.lists import fold
from goldsmith.privacy.lists.vocabulary import is_word
from goldsmith.privacy.people import STOP, TOKEN, common_words, lists, token_key

TYPED = 300
"""Characters up to which a text is taken for typed by a child. Longer ones are models' answers, which name nobody of themselves;
there a rare word is rather one of a craft."""
_FRAMES = (I_AM, KIN_BARE, SIGNED, GREETED)
_LAST_BEFORE = frozenset(word for frame in _FRAMES for word in WORD.findall(re.sub(r"\\[bsw]", " ", frame.pattern)))
"""Words that may stand right before a name in one of these frames, and some more."""
_FRAME = 6  # words of the longest of them, and one


class _NameIn(dict[str, int]):
    """What stands between two spaces to what is in it: 0 no name, 1 a word that only "I am …" makes one, 2 a name that may be
    another word, 3 nothing but a name."""

    def __missing__(self, chunk: str) -> int:
        first, last, ambiguous, common, alone = lists()
        found = 0
        for raw in (*TOKEN.findall(chunk), *WORD.findall(chunk)):
            for key in {token_key(raw), fold(raw)}:
                if key in alone:
                    found = 3
                elif raw[0].isupper() and key in first:
                    found = max(found, 2)
                elif (key in first or key in last) and key not in common:
                    found = max(found, 2 if raw[0].isupper() or key not in ambiguous else 1)
        return _keep(self, chunk, found)


class _UnknownIn(dict[str, int]):
    """What stands between two spaces to whether a word of no dictionary is in it."""

    def __missing__(self, chunk: str) -> int:
        return _keep(self, chunk, int(any(_unknown(raw) for raw in TOKEN.findall(chunk) if len(raw) > 3)))


def _unknown(raw: str) -> bool:
    return not (is_word(raw) or is_word(token_key(raw)))


def _keep(table: dict[str, int], chunk: str, value: int) -> int:
    if len(table) > 100_000:  # some 10 MB
        table.clear()
    table[chunk] = value
    return value


_name_in = _NameIn()
_unknown_in = _UnknownIn()


def worth_a_look(text: Text) -> bool:
    found = list(map(_name_in.__getitem__, text.chunks))
    if 3 in found:
        return True
    typed = len(text.plain) < TYPED
    if typed and (
        1 in map(_unknown_in.__getitem__, text.chunks)
        or (any(found) and (AFTER.search(text.lower) or CALLED_TO.search(text.lower)))
    ):
        return True
    return any(
        _in_a_frame(text.chunks, place, (I_AM,) if each == 1 else _FRAMES) for place, each in enumerate(found) if each
    ) or any(
        _may_follow(text.plain, frame, match.end())
        for frame in (SELF, KIN, KIN_BARE, NAMED, WITH_I, TITLE)
        for match in matches(frame, text)
    )


def _in_a_frame(chunks: list[str], place: int, frames: tuple[re.Pattern[str], ...]) -> bool:
    """Whether a name there may stand behind a frame, or beside another name."""
    chunk = chunks[place]
    before = chunks[place - 1] if place else ""
    after = chunks[place + 1] if place + 1 < len(chunks) else ""
    if chunk[0].isupper() and before[-1:].isalpha() and _may_be_first(before):
        return True
    if after[:1].isupper() and chunk[-1].isalpha() and _may_be_first(chunk):
        return True
    words = WORD.findall(f"{before} {chunk}".lower())
    if len(words) < 2 or _LAST_BEFORE.isdisjoint(words[:-1]):
        return False
    around = " ".join(chunks[max(0, place - _FRAME) : place + 1]).lower()
    end = len(around) - len(chunk)
    return any(match.end() >= end for frame in frames for match in frame.finditer(around))


def _may_be_first(chunk: str) -> bool:
    """Whether its last word may be a first name before a family name."""
    word = WORD.findall(chunk)[-1]
    return word[0].isupper() and fold(word) not in common_words()


def _may_follow(plain: str, frame: re.Pattern[str], start: int) -> bool:
    match = TOKEN.match(plain, start)
    if match is None:
        return False
    raw = match[0]
    if frame is SELF or frame is TITLE:
        return token_key(raw) not in STOP or raw[0].isupper()
    return _name_in[raw] > 0 or ((raw[0].isupper() or len(raw) > 3) and not is_word(raw))
