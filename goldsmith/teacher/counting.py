"""How many tokens a question has at most: counted by the provider, free of charge, else a token for every byte.

What questions share (system prompt, schema, the start of the prompt) is counted once; the rest of each is short, and bounded by
its bytes. Where that bound does not fit into what is left of a budget, the question itself is counted.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import defaultdict
from dataclasses import dataclass, replace

from goldsmith.teacher.provider import Failed, Provider, Request

FRAME_TOKENS = 1000
"""Upper bound of what the provider adds to a prompt: the frame of the turns, the instruction for structured output."""
MARGIN = 1.03  # a count is an estimate, by the provider's own words; how far off it may be is not said: a guess
JOINT_TOKENS = 32  # where two texts meet a tokenizer may cut otherwise than in each alone: a guess, several words' worth
BYTES_OF_TOKEN = 3.5  # of mixed German and English; a prefix that is marked and turns out too short costs nothing
WITHIN_S = 10.0
MOST_PREFIXES = 100  # that are counted by one attempt; a corpus of many more shares too little to be worth a request each


@dataclass(frozen=True)
class Bound:
    """No well-behaved provider bills more."""

    tokens: int
    """Of all that is sent."""
    prefix_tokens: int
    """Of them, those before the mark for the cache."""


class Counting:
    """Counts for one attempt of a job, each once."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._counts: dict[str, int | None] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._silent = "" if provider.price.input else "the model costs nothing"
        """Why nothing is counted."""

    @property
    def told(self) -> str:
        """For people: how the worst cases were found."""
        counted = sum(count is not None for count in self._counts.values())
        if counted:
            return f"counted by the provider ({counted} times), and a token for every byte of what is a question's own"
        return f"a token for every byte: {self._silent}" if self._silent else "nothing was left to ask"

    async def prefix(self, request: Request, *, sharing: int) -> int | None:
        """Tokens before the mark for the cache, as the provider counts them; None: it does not."""
        shared = request.prompt[: request.shared] if sharing > 1 else ""
        return await self._count(replace(request, prompt=shared if shared.strip() else ".", shared=0, cache=None))

    async def bound(self, request: Request, *, sharing: int) -> Bound:
        counted = await self.prefix(request, sharing=sharing)
        if counted is None:
            return by_bytes(request)
        own = request.prompt[request.shared if sharing > 1 else 0 :]
        prefix = math.ceil(counted * MARGIN)
        tokens = prefix + len(own.encode()) + JOINT_TOKENS
        # without `sharing` the mark would stand behind the question's own words
        return Bound(tokens, prefix + JOINT_TOKENS if sharing > 1 else tokens)

    async def exactly(self, request: Request) -> Bound | None:
        """Of the whole question; None: the provider does not count."""
        counted = await self._count(replace(request, shared=0, cache=None), most=None)
        return None if counted is None else Bound(math.ceil(counted * MARGIN), math.ceil(counted * MARGIN))

    async def _count(self, request: Request, *, most: int | None = MOST_PREFIXES) -> int | None:
        """Raises what no question of the job could be spared: a refused key, an account that cannot pay."""
        name = json.dumps([request.system, request.json_schema, request.prompt], default=dict)
        async with self._locks[name]:
            if name not in self._counts:
                if self._silent or (most is not None and len(self._counts) >= most):
                    return None
                self._counts[name] = await self._ask(request)
            return self._counts[name]

    async def _ask(self, request: Request) -> int | None:
        try:
            async with asyncio.timeout(WITHIN_S):
                found = await self._provider.count_tokens(request)
        except Failed as failed:
            self._silent = failed.error.detail
            if failed.why in ("key", "money"):
                raise failed.error from failed
        except TimeoutError:
            self._silent = f"the provider did not count within {WITHIN_S:.0f} s"
        else:
            if found is None:
                self._silent = "the provider does not count"
            return found
        return None


def by_bytes(request: Request) -> Bound:
    """A byte-level tokenizer never makes more tokens than there are bytes; real prose needs a quarter."""
    schema = json.dumps(request.json_schema, default=dict) if request.json_schema is not None else ""
    tokens = len(f"{request.system or ''}{request.prompt}{schema}".encode()) + FRAME_TOKENS
    return Bound(tokens, tokens)


def guessed_prefix(request: Request) -> int:
    """Tokens before the mark where nobody counts them."""
    return int(len(f"{request.system or ''}{request.prompt[: request.shared]}".encode()) / BYTES_OF_TOKEN)
