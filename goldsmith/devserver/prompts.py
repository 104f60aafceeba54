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
    wiki: bool
    """Whether the checkout's wiki block stands below the prompt."""


def render(checkout: Checkout, config_id: str, language: str, text: str, *, wiki: bool | None = None) -> RenderedPrompt:
    """The prompt of a config for `text`. The context is in `language` if the config has that, else in English, else in its
    first language. The wiki block is there when the config asks for Wikipedia, or as `wiki` says, if the checkout has one.

    Raises `InvalidInput` for an unknown config, and for a template with a placeholder that nothing fills.
    """
    config = checkout.config(config_id)
    lang = context_language(config, language)
    block = checkout.wiki if (config.wikipedia if wiki is None else wiki) else ""
    return RenderedPrompt(
        content=fill(checkout.template, task=checkout.task, context=config.context[lang], text=text, wiki=block),
        context_lang=lang,
        context_sha256=config.context_sha256(lang),
        template_version=checkout.template_version,
        wiki=bool(block),
    )


def fill(template: str, *, task: str, context: str, text: str, wiki: str = "") -> str:
    """The template with everything in its place, in one pass: what is inserted is never looked at again, so a text that
    contains a placeholder stays as it is. `wiki` follows the whole, as it is."""
    values = {"TASK_INSTRUCTION": task, "CONTEXT": context, "INPUT_TEXT": text}

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            allowed = ", ".join(f"{{{{{name}}}}}" for name in values)
            raise InvalidInput(
                f"the checkout's template has the placeholder {match[0]}, which nothing fills; known are {allowed}",
                errors=[{"field": "template", "value": match[0], "allowed": allowed}],
            )
        return values[match[1]]

    return _PLACEHOLDER.sub(value, template) + wiki


def context_language(config: InterceptionConfig, language: str) -> str:
    """The language of the context that `render` takes."""
    return next((lang for lang in (language, "en") if lang in config.context), next(iter(config.context)))
