"""BLEU-4 by hand, by an independent computation, and in scripts that put no space between words."""

from __future__ import annotations

import sys
from fractions import Fraction
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from goldsmith.errors import InvalidInput
from goldsmith.uno.bleu import TOKENIZERS, bleu4, reference_tokens, tokens


def by_definition(wanted: list[str], given: list[str]) -> float:
    """Modified precisions as fractions, each n-gram searched for one by one."""
    if not wanted or not given:
        return 0.0
    product, any_word = 1.0, False
    for n in (1, 2, 3, 4):
        there = [wanted[at : at + n] for at in range(len(wanted) - n + 1)]
        here = [given[at : at + n] for at in range(len(given) - n + 1)]
        found = 0
        for gram in here:
            if gram in there:
                there.remove(gram)
                found += 1
        any_word = any_word or (n == 1 and found > 0)
        product *= float(Fraction(found or Fraction(1, 10)) / max(1, len(here)))
    shortened = 2.718281828459045 ** (1 - len(wanted) / len(given)) if len(given) <= len(wanted) else 1.0
    return shortened * product**0.25 if any_word else 0.0


class TestByHand:
    def test_one_word_of_six_is_another(self) -> None:
        # 5 of 6 words, 3 of 5 pairs, 1 of 4 triples, none of 3 fours
        by_hand = (5 / 6 * 3 / 5 * 1 / 4 * 0.1 / 3) ** 0.25
        assert bleu4("the cat is on the mat", "the cat sat on the mat") == pytest.approx(by_hand)

    def test_a_short_answer_is_shortened_by_the_brevity_penalty(self) -> None:
        # 4 of 4, 3 of 3, 2 of 2, 1 of 1; exp(1 - 8 / 4)
        assert bleu4("a b c d e f g h", "a b c d") == pytest.approx(2.718281828459045**-1)

    def test_a_repeated_word_counts_as_often_as_it_is_wanted(self) -> None:
        # 1 of 4, then nothing
        assert bleu4("the cat", "the the the the") == pytest.approx((1 / 4 * 0.1 / 3 * 0.1 / 2 * 0.1 / 1) ** 0.25)

    def test_one_equal_word_is_above_the_guard_and_no_shared_word_is_nothing(self) -> None:
        assert bleu4("ja", "Ja") == pytest.approx((0.1**3) ** 0.25)
        assert bleu4("ja", "nein") == 0
        assert bleu4("", "ja") == bleu4("ja", "") == bleu4("", "") == 0

    def test_equal_answers_have_one(self) -> None:
        assert bleu4("Ein Fuchs läuft über das Feld.", "ein fuchs läuft über das feld.") == pytest.approx(1)


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=12))
def test_it_equals_the_definition(wanted: list[str], given: list[str]) -> None:
    assert bleu4(" ".join(wanted), " ".join(given)) == pytest.approx(by_definition(wanted, given), abs=1e-12)


class TestTokens:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Ein GROẞER Hund, oder?", ["ein", "großer", "hund,", "oder?"]),
            ("日本語のテスト。", ["日", "本", "語", "の", "テ", "ス", "ト", "。"]),
            ("今天 天气好", ["今", "天", "天", "气", "好"]),
            ("ดีมาก", ["ดี", "ม", "า", "ก"]),  # the vowel sign above stays on its letter
            ("ញ៉ាំ", ["ញ៉ាំ"]),
            ("Pythonを使う", ["python", "を", "使", "う"]),
            ("한국어 문장", ["한국어", "문장"]),
            ("u\u0308ber", ["über"]),
            ("", []),
        ],
    )
    def test_words_where_there_are_spaces_and_characters_where_not(self, text: str, expected: list[str]) -> None:
        assert tokens(text) == expected

    @pytest.mark.parametrize("text", ["Ein großer Hund.", "A cat, a Mat", "Слова и слова", "μία λέξη", "  two\n lines "])
    def test_where_there_are_spaces_both_tokenizers_agree(self, text: str) -> None:
        assert tokens(text) == reference_tokens(text)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("ภาษาไทยเป็นภาษาที่สวยงามมาก", "ภาษาไทยเป็นภาษาที่งดงามมากครับ"),
            ("これはとても良い絵だと思います", "これはとても美しい絵だと思います"),
            ("នេះជារូបភាពដ៏ស្រស់ស្អាត", "នេះជារូបភាពដ៏អស្ចារ្យ"),
        ],
    )
    def test_two_answers_without_spaces_that_say_nearly_the_same_pass_the_guard(self, one: str, other: str) -> None:
        assert bleu4(one, other) > 0.2
        if all(each < "\u4e00" for each in one):  # with a Chinese character jieba would cut it
            assert bleu4(one, other, reference_tokens) == 0

    def test_the_reference_cuts_chinese_by_jieba_and_leaves_its_case(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "jieba", SimpleNamespace(cut=lambda text: iter([text[:2], text[2:]])))
        assert reference_tokens("天气 OK") == ["天气", " OK"]
        assert reference_tokens("only OK") == ["only", "ok"]

    def test_without_jieba_the_reference_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "jieba", None)
        with pytest.raises(InvalidInput, match=r"bleu_tokenizer: reference .* pip install jieba"):
            bleu4("天气", "天气", TOKENIZERS["reference"])
