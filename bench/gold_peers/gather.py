"""What everybody writes first: `asyncio.gather` over the SDK, a semaphore, and the SDK's own retries."""

from __future__ import annotations

import asyncio

import anthropic

from bench.gold_peers.order import MAX_TOKENS, SYSTEM, Done, Order, serve

RETRIES = 10  # the default of 2 loses a part of the answers at a limit


def ask(order: Order, done: Done) -> None:
    asyncio.run(_ask_all(order, done))


async def _ask_all(order: Order, done: Done) -> None:
    semaphore = asyncio.Semaphore(order.at_once)
    async with anthropic.AsyncAnthropic(api_key="bench", base_url=order.url, max_retries=RETRIES) as client:

        async def one(prompt: str) -> None:
            async with semaphore:
                try:
                    await client.messages.create(
                        model="rehearsal-1",
                        max_tokens=MAX_TOKENS,
                        system=SYSTEM,
                        messages=[{"role": "user", "content": prompt}],
                    )
                except anthropic.APIError as error:
                    done.error = f"{type(error).__name__}: {error}"[:200]
                else:
                    done.answered += 1

        await asyncio.gather(*(one(prompt) for prompt in order.prompts()))


if __name__ == "__main__":
    serve(ask)
