"""Render the prompt as training did, and let the serving model answer it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.devserver.prompts import render
from goldsmith.errors import InvalidInput
from goldsmith.kinds.intercept.schema import InterceptConfig, InterceptResult

if TYPE_CHECKING:
    from goldsmith.context import JobContext

MAX_TOKENS, TEMPERATURE = 512, 0.7  # where neither the job nor the config says; 0.7 is what nearly all of the devserver's say


async def run(config: InterceptConfig, ctx: JobContext) -> InterceptResult:
    if config.contexts is None:
        raise InvalidInput(
            "contexts: no contexts.json is known; import a devserver checkout first",
            errors=[{"field": "contexts", "value": None, "message": "job:<id of an import>/contexts.json"}],
        )
    checkout = Checkout.model_validate_json(ctx.artifact(config.contexts).read_bytes())
    prompt = render(checkout, config.config_id, config.language or "en", config.user_input)
    says = checkout.config(config.config_id)

    ctx.progress(10, "waiting for the model")
    reply = await ctx.chat().complete(
        [{"role": "user", "content": prompt.content}],
        adapter=config.adapter,
        max_tokens=config.max_tokens or int(parameter(says, "max_tokens", MAX_TOKENS, 1, 4096)),
        temperature=parameter(says, "temperature", TEMPERATURE, 0, 2) if config.temperature is None else config.temperature,
        top_p=parameter(says, "top_p", 1.0, 0.01, 1) if "top_p" in says.parameters else None,
    )
    return InterceptResult(
        output_text=reply.text, model_used=reply.model_used, adapter=reply.adapter, config_id=config.config_id
    )


def parameter(config: InterceptionConfig, name: str, default: float, low: float, high: float) -> float:
    """What the config says, or `default` where it says nothing; raises `InvalidInput` for what no model could use."""
    value = config.parameters.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise InvalidInput(
            f"the config {config.config_id} has parameters.{name} = {value!r}; allowed are numbers from {low:g} to {high:g}",
            errors=[{"field": "config_id", "value": config.config_id, "message": f"its {name} must be {low:g} to {high:g}"}],
        )
    return value
