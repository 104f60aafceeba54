"""The prompt that a config makes of an input: one renderer for training and for live answers, so both see the same bytes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from goldsmith.errors import InvalidInput

if TYPE_CHECKING:
    from goldsmith.devserver.checkout import Checkout, InterceptionConfig

_PLACEHOLDER = re.compile(r"\{\{([^{}]*)\}\}")


class RenderedPrompt(BaseModel):
    """One user message, without a system prompt, and what it was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    content: str
    context_lang: str
    context_sha256: str
    template_version: str


def render(checkout: Checkout, config_id: str, language: str, text: str) -> RenderedPrompt:
    """Fill the checkout's template with its task, the config's context and `text`, in one pass: what is inserted is never
    looked at again, so a text that contains a placeholder stays as it is. The context is in `language` if the config has
    that, else in English, else in its first language.

    Raises `InvalidInput` for an unknown config, and for a template with a placeholder that nothing fills.
    """
    config = checkout.config(config_id)
    lang = context_language(config, language)
    values = {"TASK_INSTRUCTION": checkout.task, "CONTEXT": config.context[lang], "INPUT_TEXT": text}

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            allowed = ", ".join(f"{{{{{name}}}}}" for name in values)
            raise InvalidInput(
                f"the checkout's template has the placeholder {match[0]}, which nothing fills; known are {allowed}",
                errors=[{"field": "template", "value": match[0], "allowed": allowed}],
            )
        return values[match[1]]

    return RenderedPrompt(
        content=_PLACEHOLDER.sub(value, checkout.template),
        context_lang=lang,
        context_sha256=config.context_sha256(lang),
        template_version=checkout.template_version,
    )


def context_language(config: InterceptionConfig, language: str) -> str:
    """The language of the context that `render` takes."""
    return next((lang for lang in (language, "en") if lang in config.context), next(iter(config.context)))
