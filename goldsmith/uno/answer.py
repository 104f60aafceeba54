"""An answer along a router's path: by the expert, or by the base model before and after its critic, or by the base model alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from goldsmith.errors import InvalidInput, Unavailable
from goldsmith.uno import prompts

if TYPE_CHECKING:
    from goldsmith.student import ChatReply
    from goldsmith.uno.route import Decision

TEMPERATURE = 0.1  # UNO's, for all three calls
Complete = Callable[[Sequence[Mapping[str, str]], str | None], Awaitable["ChatReply"]]
"""Messages and an adapter (None: the base model) to what was answered; `Unavailable` or `InvalidInput` when it cannot answer."""


@dataclass(frozen=True)
class Answered:
    answer: str
    model_used: str
    """What the server says that wrote it."""
    answered_by: str | None
    """The adapter that wrote it; None: the base model, though perhaps after a critique."""
    draft: str | None = None
    """On the path `reflective`: the base model's first answer."""
    critique: str | None = None
    note: str | None = None
    """Why the base model answered where an adapter was wanted."""


def embedded_text(messages: Sequence[Mapping[str, str]]) -> str:
    """What of a conversation is embedded, and asked about: all its messages, a blank line between them."""
    return "\n\n".join(message["content"] for message in messages)


async def answer(
    decision: Decision, messages: Sequence[Mapping[str, str]], complete: Complete, language: str | None
) -> Answered:
    """Follow the decision. An adapter that cannot answer leaves its part out: the base model's answer stands, and `note` says so."""
    if decision.adapter is not None:
        try:
            reply = await complete(messages, decision.adapter)
            return Answered(reply.text, reply.model_used, reply.adapter)
        except (InvalidInput, Unavailable) as error:
            reply = await complete(messages, None)
            note = f"the base model answered, as the expert {decision.adapter} did not: {error.detail}"
            return Answered(reply.text, reply.model_used, None, note=note)
    draft = await complete(messages, None)
    if decision.critic is None:
        return Answered(draft.text, draft.model_used, None)
    question, critique = embedded_text(messages), None
    try:
        asked = prompts.critic_prompt(question, draft.text)
        critique = (await complete([{"role": "user", "content": asked}], decision.critic)).text
        asked = prompts.rewrite_prompt(question, critique, draft.text, language)
        final = await complete([{"role": "user", "content": asked}], None)
    except (InvalidInput, Unavailable) as error:  # the second prompt may also be too long for the model
        who = f"the critic {decision.critic} did not answer" if critique is None else "the base model did not write it anew"
        return Answered(draft.text, draft.model_used, None, draft.text, critique, f"the draft stands, as {who}: {error.detail}")
    return Answered(final.text, final.model_used, None, draft.text, critique)
