"""Which configs each prompt is rendered with: its own first, then those used least."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from goldsmith.kinds.corpus.prompts import Prompt
from goldsmith.kinds.corpus.split import order


def pair(
    prompts: Sequence[Prompt], splits: Sequence[str], configs: Sequence[str], per_prompt: int, seed: int
) -> list[list[str]]:
    """`per_prompt` different configs for each prompt, or all where there are fewer; the same for any order of the prompts.

    Configs are used equally often with each tradition, in each language, with each preset and in the whole of each split, as far
    as the recorded ones allow; of two of these that disagree the one named first decides.
    """
    pairs = [[config_id for config_id in prompt.configs if config_id in configs][:per_prompt] for prompt in prompts]
    used: Counter[tuple[str, ...]] = Counter()
    strata = [_strata(prompt, split) for prompt, split in zip(prompts, splits, strict=True)]

    def use(number: int, config_id: str) -> None:
        used.update((*stratum, config_id) for level in strata[number] for stratum in level)

    for number, recorded in enumerate(pairs):
        for config_id in recorded:
            use(number, config_id)
    for number in sorted(range(len(prompts)), key=lambda number: order(seed, prompts[number].key)):
        prompt = prompts[number]
        while len(pairs[number]) < min(per_prompt, len(configs)):
            least_used = min(
                (config_id for config_id in configs if config_id not in pairs[number]),
                key=lambda config_id: (
                    *(sum(used[*stratum, config_id] for stratum in level) for level in strata[number]),
                    order(seed, f"{prompt.key}\0{config_id}"),
                ),
            )
            pairs[number].append(least_used)
            use(number, least_used)
    return pairs


def _strata(prompt: Prompt, split: str) -> list[list[tuple[str, ...]]]:
    """What is balanced, the most important first."""
    return [
        [(split, "tradition", tradition) for tradition in prompt.traditions],
        [(split, "language", prompt.language)],
        [(split, "preset", prompt.preset)] if prompt.preset else [],
        [(split,)],
    ]
