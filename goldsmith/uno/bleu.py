"""BLEU-4 of one answer against another, as UNO's gate uses it: a guard against answers that have nothing of the base model's.

Sentence BLEU (Papineni et al. 2002) with uniform weights; a count of zero becomes 0.1 (Chen and Cherry 2014, method 1).
"""

from __future__ import annotations

import importlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from goldsmith.errors import InvalidInput

Tokenize = Callable[[str], list[str]]

SMOOTHING = 0.1
N = 4

# Scripts that put no space between words, each character of which is a token with the marks on it; as tokens of Chinese and
# Japanese characters are what BLEU is usually computed on. Their punctuation stands apart too.
_UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u0f00-\u0fff"  # Tibetan
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff\u19e0-\u19ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aaf\uaa80-\uaadf"  # Tai Le, New Tai Lue, Tai Tham, Tai Viet
    "\u1b00-\u1b7f\ua980-\ua9df"  # Balinese, Javanese
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"  # Han
    "\u3000-\u3004\u3008-\u3020\u3030-\u303f\uff01-\uff65"  # punctuation and full-width forms that go with it
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001b000-\U0001b16f"  # Hiragana, Katakana
    "\u3100-\u312f\u31a0-\u31bf\ua000-\ua4cf"  # Bopomofo, Yi
)
_PIECES = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")
_CHINESE = re.compile("[\u4e00-\u9fa5]")


def tokens(text: str) -> list[str]:
    """Lower-cased words between spaces; in scripts without spaces, characters. So two German answers have the tokens that the
    reference gives them, and two Thai ones do not become one token each."""
    return [piece for word in unicodedata.normalize("NFC", text).lower().split() for piece in pieces(word)]


def pieces(word: str) -> list[str]:
    found: list[str] = []
    for piece in _PIECES.findall(word):
        if found and unicodedata.category(piece[0]).startswith("M"):  # a vowel sign or tone belongs to its letter
            found[-1] += piece
        else:
            found.append(piece)
    return found


def reference_tokens(text: str) -> list[str]:
    """As UNO's code cuts a text: by jieba where one Chinese character is in it, else lower-cased between spaces."""
    if not _CHINESE.search(text):
        return text.strip().lower().split()
    try:
        jieba = importlib.import_module("jieba")
    except ModuleNotFoundError:
        raise InvalidInput(
            "bleu_tokenizer: reference cuts Chinese with the package jieba, which is not installed; pip install jieba==0.42.1,"
            " or choose unspaced"
        ) from None
    return list(jieba.cut(text))


TOKENIZERS: dict[str, Tokenize] = {"unspaced": tokens, "reference": reference_tokens}


def bleu4(reference: str, candidate: str, tokenize: Tokenize = tokens) -> float:
    """0 to 1; 0 where they share no token or one has none. `sentence_bleu` of NLTK with method 1 gives the same on its tokens."""
    wanted, given = tokenize(reference), tokenize(candidate)
    matches = [_matches(wanted, given, n) for n in range(1, N + 1)]
    if not wanted or not given or not matches[0][0]:
        return 0.0
    logs = [math.log((matched or SMOOTHING) / number) for matched, number in matches]
    shortened = min(0.0, 1 - len(wanted) / len(given))
    return math.exp(shortened + math.fsum(logs) / N)


def _matches(wanted: Sequence[str], given: Sequence[str], n: int) -> tuple[int, int]:
    """How many of the n-grams given are wanted, each at most as often as it is wanted; and how many are given, at least 1."""
    there, here = (Counter(zip(*(text[start:] for start in range(n)), strict=False)) for text in (wanted, given))
    return (there & here).total(), max(1, here.total())
