from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from goldsmith.kinds.corpus.pairing import pair
from goldsmith.kinds.corpus.prompts import Prompt

CONFIGS = ["loom", "mosaic", "straight_on", "töpferei", "echo"]


def prompts_of(*recorded: tuple[str, ...], language: str = "de") -> list[Prompt]:
    return [
        Prompt(text=f"wish {number}", language=language, source=f"run {number}", configs=configs, runs=1, favourites=0)
        for number, configs in enumerate(recorded)
    ]


def test_the_recorded_config_comes_first() -> None:
    pairs = pair(prompts_of(("mosaic",), ("echo", "loom")), ["train", "train"], CONFIGS, 3, seed=1)
    assert pairs[0][0] == "mosaic"
    assert pairs[1][:2] == ["echo", "loom"]


def test_of_more_recorded_configs_than_asked_for_the_first_are_taken() -> None:
    assert pair(prompts_of(("echo", "loom", "mosaic")), ["train"], CONFIGS, 2, seed=1) == [["echo", "loom"]]


def test_a_recorded_config_that_is_not_asked_for_is_not_used() -> None:
    assert pair(prompts_of(("unknown", "loom")), ["train"], CONFIGS, 1, seed=1) == [["loom"]]


def test_all_configs_are_used_where_there_are_fewer_than_asked_for() -> None:
    assert [sorted(each) for each in pair(prompts_of((), ()), ["train", "heldout"], ["b", "a"], 7, seed=1)] == [["a", "b"]] * 2


@given(
    st.lists(st.tuples(st.sampled_from(["train", "heldout"]), st.sampled_from(["de", "en"])), min_size=1, max_size=40),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_configs_are_used_equally_often_in_each_language_of_each_split(
    kinds: list[tuple[str, str]], per_prompt: int, seed: int
) -> None:
    prompts = [Prompt(f"wish {n}", language, f"run {n}", (), 1, 0) for n, (_, language) in enumerate(kinds)]
    pairs = pair(prompts, [split for split, _ in kinds], CONFIGS, per_prompt, seed)

    assert all(len(each) == len(set(each)) == per_prompt for each in pairs)
    for kind in set(kinds):
        used = Counter(config_id for configs, own in zip(pairs, kinds, strict=True) if own == kind for config_id in configs)
        assert max(used[config_id] for config_id in CONFIGS) - min(used[config_id] for config_id in CONFIGS) <= 1


@given(st.lists(st.sampled_from([(), ("loom",), ("echo", "loom")]), min_size=1, max_size=20), st.randoms())
def test_the_order_of_the_prompts_changes_nothing(recorded: list[tuple[str, ...]], random: Random) -> None:
    prompts = prompts_of(*recorded)
    shuffled = list(prompts)
    random.shuffle(shuffled)
    first, second = (
        {each.text: configs for each, configs in zip(these, pair(these, ["train"] * len(these), CONFIGS, 3, 5), strict=True)}
        for these in (prompts, shuffled)
    )
    assert first == second
