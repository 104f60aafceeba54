"""distilabel's pipeline with its cache, as its manual shows it. Needs `pip install distilabel requests 'anthropic<1'` in an environment of
its own: it hands the SDK a temperature, which SDK 2 has no argument for."""

from __future__ import annotations

import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from distilabel.models.llms import AnthropicLLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

from bench.gold_peers.order import MAX_TOKENS, SYSTEM, Done, Order, serve

MODEL = "claude-sonnet-4-5"


def ask(order: Order, done: Done) -> None:
    cache = Path(tempfile.gettempdir()) / f"bench-distilabel-{urlsplit(order.url).port}"  # the second start finds the first's
    with Pipeline("bench", cache_dir=cache) as pipeline:
        rows = LoadDataFromDicts(data=[{"instruction": prompt} for prompt in order.prompts()], batch_size=order.at_once)
        llm = AnthropicLLM(
            model=MODEL, base_url=order.url, api_key="bench", max_retries=10, generation_kwargs={"max_tokens": MAX_TOKENS}
        )
        rows >> TextGeneration(llm=llm, system_prompt=SYSTEM, input_batch_size=order.at_once)
    dataset = pipeline.run(use_cache=True)["default"]["train"]
    done.answered = sum(row["generation"] is not None for row in dataset)


if __name__ == "__main__":
    serve(ask)
