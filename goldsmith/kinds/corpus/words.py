"""What two prompts have in common: their words, their sentence template, their shingles."""

from __future__ import annotations

import unicodedata

from goldsmith.language import language_of

SLOT = "_"
SHINGLE = 4  # characters

# Lemma: its forms. German inflects articles by the noun that fills the slot ("ein Hund auf dem …", "eine Katze auf der …"):
# without lemmas one template would count as many. Per language, because "hat" is a verb here and a thing to wear there.
_INFLECTED = {
    "de": {
        "der": "die das den dem des",
        "ein": "eine einen einem einer eines",
        "kein": "keine keinen keinem keiner keines",
        "mein": "meine meinen meinem meiner meines",
        "dein": "deine deinen deinem deiner deines",
        "sein": "seine seinen seinem seiner seines ist sind war waren bin bist",
        "ihr": "ihre ihren ihrem ihrer ihres",
        "unser": "unsere unseren unserem unserer unseres",
        "dieser": "diese dieses diesen diesem",
        "jeder": "jede jedes jeden jedem",
        "welcher": "welche welches welchen welchem",
        "alle": "alles allen aller allem",
        "viel": "viele vielen vieler vieles",
        "ich": "mich mir",
        "du": "dich dir",
        "er": "ihn ihm",
        "sie": "ihnen",
        "wir": "uns",
        "in der": "im ins",
        "an der": "am ans",
        "auf der": "aufs",
        "zu der": "zum zur",
        "von der": "vom",
        "bei der": "beim",
        "haben": "habe hat hast hatte hatten",
        "werden": "wird wirst wurde wurden",
        "können": "kann kannst könnte könnten",
        "wollen": "will willst wollte",
        "möchten": "möchte",
        "sollen": "soll sollte sollten",
        "müssen": "muss musst musste",
    },
    "en": {
        "a": "an",
        "be": "is are was were am been being",
        "have": "has had having",
        "do": "does did",
        "do not": "dont doesnt didnt",
        "this": "these",
        "that": "those",
        "they": "them",
        "he": "him",
        "we": "us",
        "i": "me",
        "can": "could",
    },
}
_FIXED = {
    "de": """und oder aber denn sondern doch dass ob weil wenn als während bis damit bevor nachdem in an auf zu von bei mit
        ohne aus nach über unter vor hinter neben zwischen durch für gegen um seit wegen statt außer gegenüber es man
        sich wer wen wem was wo wie wann warum woher wohin nicht nur auch noch schon so sehr ganz mal bitte dann da dort
        hier""",
    "en": """the and or but nor because if when while until than as of to with without from into onto in on at by over under
        above below behind beside before between after among through for against around about near inside outside across
        along during toward towards it its my your his her she our their you who whom whose which what where why how not
        no only also too very just so please then there here some any each every all both some should would must may
        might will shall""",
}


def words(text: str) -> list[str]:
    """Letters and digits, case folded, in NFC; apostrophes and invisible characters do not split a word, all others do."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return "".join(_kept(character) for character in folded).split()


def _kept(character: str) -> str:
    if character in "'’" or unicodedata.category(character) == "Cf":
        return ""
    return character if unicodedata.category(character)[0] in "LMN" else " "


def normal(text: str) -> str:
    """The text without case, punctuation and spacing: prompts that agree in this are the same prompt."""
    return " ".join(words(text))


def _lemmas(language: str) -> dict[str, str]:
    lemmas = {word: word for word in words(" ".join([_FIXED[language], *_INFLECTED[language]]))}
    return lemmas | {normal(form): normal(lemma) for lemma, forms in _INFLECTED[language].items() for form in forms.split()}


_LEMMAS = {language: _lemmas(language) for language in _INFLECTED}
_EITHER = _LEMMAS["de"] | _LEMMAS["en"]


def template(text: str) -> str | None:
    """The sentence template: German or English function words by their lemma, in order, and a slot for each run of others.

    Where the language cannot be told, the words of both count. None where there is no function word (`rainbow unicorn`):
    nothing is left of such a text that another could share.
    """
    plain = normal(text)
    lemmas = _LEMMAS.get(language_of(plain) or "", _EITHER)
    parts: list[str] = []
    for word in plain.split():
        part = lemmas.get(word, SLOT)
        if part != SLOT or parts[-1:] != [SLOT]:
            parts.append(part)
    return " ".join(parts) if any(part != SLOT for part in parts) else None


def shingles(text: str) -> frozenset[str]:
    """Every run of four characters of the normal form, with a space at both ends."""
    padded = f" {normal(text)} "
    return frozenset(padded[start : start + SHINGLE] for start in range(max(1, len(padded) - SHINGLE + 1)))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared shingles of all: 0 to 1."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
