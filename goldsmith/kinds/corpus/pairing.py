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

    Configs are used equally often in each language of each split, as far as the recorded ones allow.
    """
    pairs = [[config_id for config_id in prompt.configs if config_id in configs][:per_prompt] for prompt in prompts]
    by_split: Counter[tuple[str, str]] = Counter()
    by_language: Counter[tuple[str, str, str]] = Counter()

    def use(number: int, config_id: str) -> None:
        by_split[splits[number], config_id] += 1
        by_language[splits[number], prompts[number].language, config_id] += 1

    for number, recorded in enumerate(pairs):
        for config_id in recorded:
            use(number, config_id)
    for number in sorted(range(len(prompts)), key=lambda number: order(seed, prompts[number].key)):
        prompt = prompts[number]
        while len(pairs[number]) < min(per_prompt, len(configs)):
            least_used = min(
                (config_id for config_id in configs if config_id not in pairs[number]),
                key=lambda config_id: (
                    by_language[splits[number], prompt.language, config_id],
                    by_split[splits[number], config_id],
                    order(seed, f"{prompt.key}\0{config_id}"),
                ),
            )
            pairs[number].append(least_used)
            use(number, least_used)
    return pairs
