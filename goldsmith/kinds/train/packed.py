"""Rows laid end to end instead of padded: one sequence without a wasted token, in which no row sees another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "goldsmith_packed"
WORTH = 16  # tokens; a guess


def packed_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    row_lengths: Sequence[int] | None = None,
    shared: int = 0,
    **more: Any,
) -> tuple[Any, None]:
    """PyTorch's attention, causal within each of the `row_lengths` and nothing else; without them, as `sdpa`. With `shared`, the
    first of them is what all rows begin with, and the others see it too.

    A mask over the whole sequence would give the same and compute what it hides: with eight rows seven eighths of it.
    """
    if row_lengths is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **more)
    rows = zip(*(torch.split(each, list(row_lengths), dim=2) for each in (query, key, value)), strict=True)
    heard, before = [], None
    for q, k, v in rows:
        mask = None
        if before is not None:
            mask = torch.ones(q.shape[2], shared + q.shape[2], dtype=torch.bool, device=q.device).tril(shared)[None, None]
            k, v = torch.cat([before[0], k], dim=2), torch.cat([before[1], v], dim=2)
        elif shared:
            before = k, v
        heard.append(sdpa_attention_forward(module, q, k, v, mask, **more)[0])
    return torch.cat(heard, dim=1), None


def _mask(*args: Any, attention_mask: Any = None, **more: Any) -> Any:
    return None if attention_mask is None else sdpa_mask(*args, attention_mask=attention_mask, **more)


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, _mask)


def can_pack(model: Any) -> bool:
    """Whether every layer attends to all that came before it in its row; a sliding window would need its mask."""
    config = model.config.get_text_config()
    windows = set(getattr(config, "layer_types", None) or ["full_attention"]) - {"full_attention"}
    windowed = getattr(config, "sliding_window", None) is not None and getattr(config, "use_sliding_window", True)
    return not windows and not windowed and config._attn_implementation in ("sdpa", NAME)


@contextmanager
def attention(model: Any, *, on: bool) -> Iterator[None]:
    """Within it the model understands rows that are laid end to end, and all else as before."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    former = causal.config._attn_implementation
    if on:
        causal.set_attn_implementation(NAME)
    try:
        yield
    finally:
        causal.set_attn_implementation(former)


def end_to_end(rows: Sequence[Sequence[int]], device: Any, shared: int = 0) -> tuple[dict[str, Any], list[int]]:
    """What the decoder is given: positions that begin anew with each row, and no mask; and how far each row is moved.

    The `shared` tokens that all rows begin with stand once, at the beginning: place p of row r is at p where p < shared, else at
    p + moved[r].
    """
    parts = [list(rows[0][:shared])] * bool(shared) + [list(row[shared:]) for row in rows]
    begins = [0] * bool(shared) + [shared] * len(rows)
    inputs: dict[str, Any] = {
        "input_ids": torch.tensor([[token for part in parts for token in part]], device=device),
        "position_ids": torch.tensor(
            [[begin + place for begin, part in zip(begins, parts, strict=True) for place in range(len(part))]], device=device
        ),
        "row_lengths": [len(part) for part in parts],
    }
    if shared:
        inputs["shared"] = shared
    moved, at = [], shared
    for row in rows:
        moved.append(at - shared)
        at += len(row) - shared
    return inputs, moved


def beginning(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all of several rows begin with; prompts of one template share its task. 0 when it is not worth it."""
    longest = min(len(row) for row in rows) - 1  # of every row something stays
    same = next((place for place in range(longest) if len({row[place] for row in rows}) > 1), longest)
    return same if len(rows) > 1 and same >= WORTH else 0


def draws(model: Any) -> bool:
    """Whether dropout is at work: then each row needs its own beginning."""
    return any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())


def passes(lengths: Sequence[int], batch_size: int, budget: int | None) -> list[list[int]]:
    """The rows of an update in parts that are computed at once: `batch_size` rows of like lengths, or as many as `budget` tokens
    hold."""
    longest_first = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    if budget is None:
        return [longest_first[start : start + batch_size] for start in range(0, len(lengths), batch_size)]
    parts: list[list[int]] = []
    held: list[int] = []
    for row in longest_first:  # first fit
        part = next((at for at, tokens in enumerate(held) if tokens + lengths[row] <= budget), None)
        if part is None:
            parts.append([])
            held.append(0)
            part = len(parts) - 1
        parts[part].append(row)
        held[part] += lengths[row]
    return parts
