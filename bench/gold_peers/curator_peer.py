"""bespokelabs-curator with its cache, told the limit that ours has to find. Needs `pip install bespokelabs-curator` in an
environment of its own. Its backend `anthropic` asks for a model of 2024 first, so litellm stands between."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("TELEMETRY_ENABLED", "false")
os.environ.setdefault("CURATOR_DISABLE_RICH_DISPLAY", "1")

from bespokelabs import curator

from bench.gold_peers.order import MAX_TOKENS, SYSTEM, Done, Order, serve

MODEL = "anthropic/claude-sonnet-4-5"


class Asker(curator.LLM):
    def prompt(self, row: dict[str, str]) -> list[dict[str, str]]:
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row["prompt"]}]

    def parse(self, row: dict[str, str], response: str) -> dict[str, str]:
        return {**row, "answer": response}


def ask(order: Order, done: Done) -> None:
    # litellm's first request, which asks for the headers, takes both from the environment
    os.environ |= {"ANTHROPIC_API_KEY": "bench", "ANTHROPIC_BASE_URL": order.url}
    cache = Path(tempfile.gettempdir()) / f"bench-curator-{urlsplit(order.url).port}"  # the second start finds the first's
    asker = Asker(
        model_name=MODEL,
        backend="litellm",
        generation_params={"max_tokens": MAX_TOKENS},
        backend_params={
            "base_url": order.url,
            "api_key": "bench",
            "max_requests_per_minute": int(order.rate * 60),
            "max_tokens_per_minute": 100_000_000,
            "max_concurrent_requests": order.at_once,
        },
    )
    answers = asker([{"prompt": prompt} for prompt in order.prompts()], working_dir=str(cache))
    rows = getattr(answers, "dataset", answers)
    done.answered = sum(bool(row["answer"]) for row in rows)


if __name__ == "__main__":
    serve(ask)
