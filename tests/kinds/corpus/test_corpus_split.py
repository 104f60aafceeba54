from __future__ import annotations

from itertools import chain, combinations
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from goldsmith.kinds.corpus.prompts import Prompt
from goldsmith.kinds.corpus.split import group, held_out
from goldsmith.kinds.corpus.words import jaccard, normal, shingles, template

THRESHOLD = 0.5

# few words, so that drawn prompts often share a template or most of their text
TEXTS = st.lists(
    st.lists(
        st.sampled_from(["ein", "der", "auf", "mit", "the", "in", "wal", "mond", "drache", "lampe", "schnee", "kite"]),
        min_size=1,
        max_size=5,
    ),
    min_size=1,
    max_size=14,
    unique_by=tuple,
).map(lambda drawn: [" ".join(each) for each in drawn])


def prompt(text: str, language: str = "de") -> Prompt:
    return Prompt(text=text, language=language, source=f"run of {text}", configs=(), runs=1, favourites=0)


def groups_of(texts: list[str], threshold: float = THRESHOLD) -> dict[str, str]:
    prompts = [prompt(text) for text in texts]
    return dict(zip(texts, group(prompts, threshold, lambda done: None), strict=True))


def test_a_shared_template_makes_one_group() -> None:
    groups = groups_of(["Ein Hund auf dem Mond", "Eine Schnecke auf der Torte", "Hunde und Monde"])
    assert groups["Ein Hund auf dem Mond"] == groups["Eine Schnecke auf der Torte"] != groups["Hunde und Monde"]


def test_near_duplicates_make_one_group_also_without_a_template() -> None:
    groups = groups_of(["riesige Qualle spielt Schlagzeug", "riesige Qualle spielte Schlagzeug", "Bagger lernt Ballett"])
    assert len(set(groups.values())) == 2


def test_groups_are_chained() -> None:
    groups = groups_of(
        [
            "Ein Pinguin auf dem Schlittenberg",  # the template of the second
            "Ein Roboter auf dem Jahrmarkt",  # nearly the third
            "Roboter auf dem Jahrmarkt",
        ]
    )
    assert len(set(groups.values())) == 1


@given(TEXTS, st.randoms())
def test_no_template_and_no_near_duplicate_is_in_two_groups_whatever_the_order(texts: list[str], random: Random) -> None:
    groups = groups_of(texts)
    for one, other in combinations(texts, 2):
        alike = template(one) is not None and template(one) == template(other)
        if alike or jaccard(shingles(one), shingles(other)) >= THRESHOLD:
            assert groups[one] == groups[other]
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert groups_of(shuffled) == groups


@st.composite
def grouped(draw: st.DrawFn) -> tuple[list[Prompt], list[str]]:
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=25))
    prompts, groups = [], []
    for number, size in enumerate(sizes):
        language = draw(st.sampled_from(["de", "en", "tr"]))
        for member in range(size):
            prompts.append(prompt(f"text {number} {member}", language))
            groups.append(f"group {number}")
    return prompts, groups


FRACTIONS = st.floats(0.05, 0.5)


@given(grouped(), FRACTIONS, st.integers(0, 2**32 - 1))
def test_some_groups_are_held_out_and_some_are_not(data: tuple[list[Prompt], list[str]], fraction: float, seed: int) -> None:
    prompts, groups = data
    assert set() < held_out(prompts, groups, fraction, seed) < set(groups)


@given(grouped(), FRACTIONS, st.integers(0, 2**32 - 1), st.randoms())
def test_what_is_held_out_does_not_depend_on_the_order(
    data: tuple[list[Prompt], list[str]], fraction: float, seed: int, random: Random
) -> None:
    prompts, groups = data
    shuffled = list(zip(prompts, groups, strict=True))
    random.shuffle(shuffled)
    again = held_out([each for each, _ in shuffled], [each for _, each in shuffled], fraction, seed)
    assert again == held_out(prompts, groups, fraction, seed) == held_out(prompts, groups, fraction, seed)


@given(st.lists(st.integers(1, 9), min_size=2, max_size=10), FRACTIONS, st.integers(0, 99))
def test_of_one_language_as_much_is_held_out_as_whole_groups_allow(sizes: list[int], fraction: float, seed: int) -> None:
    groups = list(chain.from_iterable([f"group {number}"] * size for number, size in enumerate(sizes)))
    prompts = [prompt(f"text {number}") for number in range(len(groups))]
    chosen = held_out(prompts, groups, fraction, seed)

    target = fraction * len(prompts)
    possible = {sum(some) for count in range(1, len(sizes)) for some in combinations(sizes, count)}
    share = sum(each in chosen for each in groups)
    nearest = min(abs(each - target) for each in possible)
    assert abs(share - target) == nearest or share == min(sizes)


def test_each_language_gives_its_share() -> None:
    prompts = [
        prompt(f"{language} {number}", language)
        for language, count in [("de", 40), ("en", 25), ("tr", 10)]
        for number in range(count)
    ]
    groups = [each.text for each in prompts]
    chosen = held_out(prompts, groups, 0.2, seed=1)
    assert [sum(each.startswith(language) for each in chosen) for language in ("de", "en", "tr")] == [8, 5, 2]


def test_what_small_languages_cannot_give_the_larger_one_makes_up_for() -> None:
    prompts = [
        prompt(f"{language} {n}", language) for language, count in [("tr", 2), ("uk", 2), ("de", 16)] for n in range(count)
    ]
    chosen = held_out(prompts, [each.text for each in prompts], 0.2, seed=1)
    assert [sum(each.startswith(language) for each in chosen) for language in ("tr", "uk", "de")] == [0, 1, 3]


def test_another_seed_holds_out_others() -> None:
    prompts = [prompt(f"text {number}") for number in range(50)]
    groups = [normal(each.text) for each in prompts]
    assert len({frozenset(held_out(prompts, groups, 0.2, seed)) for seed in range(20)}) == 20
