"""What training lowers: the answers' negative log-likelihood (NLL), and for pairs half of it and half of DPO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, logsigmoid
from torch.utils.checkpoint import checkpoint

from goldsmith.errors import InvalidInput
from goldsmith.footprint import LOGITS_AT_ONCE
from goldsmith.kinds.train.packed import beginning, draws, end_to_end
from goldsmith.student import Told
from goldsmith.student.conversation import IGNORED, Tokens

BETA = 0.1
HALF = 0.5  # the weight of either part of dpo_nll


@dataclass(frozen=True)
class Totals:
    """Of a whole update: what the parts of its loss are divided by, so that they add up to the mean however it is cut up."""

    tokens: int
    """Of the (chosen) answers."""
    rows: int


def labels_of(tokens: Tokens) -> int:
    return sum(label != IGNORED for label in tokens.labels)


def nll_loss(model: Any, rows: Sequence[Tokens], totals: Totals, *, packed: bool) -> torch.Tensor:
    """This part of the mean NLL per token of the answers."""
    return answers_nll(model, rows, packed=packed).sum() / totals.tokens


def dpo_nll_loss(
    model: Any,
    pairs: Sequence[tuple[Tokens, Tokens]],
    reference: Sequence[tuple[float, float]],
    totals: Totals,
    *,
    packed: bool,
) -> torch.Tensor:
    """This part of TRL's `loss_type=['sigmoid', 'sft']`, `loss_weights=[0.5, 0.5]`: the mean over pairs of DPO's sigmoid loss,
    and the mean NLL per token of the chosen answers. `reference` is the summed NLL of both answers under the base model."""
    nll = answers_nll(model, [*(chosen for chosen, _ in pairs), *(rejected for _, rejected in pairs)], packed=packed)
    chosen, rejected = torch.split(nll, len(pairs))
    base = torch.tensor(reference, device=nll.device)
    gained = (base[:, 0] - chosen) - (base[:, 1] - rejected)
    preference = -logsigmoid(BETA * gained).sum() / totals.rows
    loss: torch.Tensor = HALF * preference + HALF * chosen.sum() / totals.tokens
    return loss


def unsloth_loss(model: Any, rows: Sequence[Tokens], totals: Totals, *, packed: bool) -> torch.Tensor:
    """`nll_loss` by Unsloth's own fused head and attention, which stand behind its forward pass."""
    if packed:
        inputs, _ = end_to_end([row.input_ids for row in rows], model.device)
        inputs["packed_seq_lengths"] = torch.tensor(inputs.pop("row_lengths"), dtype=torch.int32, device=model.device)
        labels = torch.tensor([[label for row in rows for label in row.labels]], device=model.device)
    else:
        inputs = _padded(rows, model.device)
        labels = inputs.pop("labels")
    loss: torch.Tensor = model(**inputs, labels=labels, num_items_in_batch=totals.tokens, use_cache=False).loss
    return loss


def unsloth_nll(model: Any, rows: Sequence[Tokens], told: Told | None = None) -> list[tuple[float, int]]:
    """`goldsmith.student.local.likelihood` by that forward pass, which gives no logits but a loss: one row at a time."""
    model.eval()
    results = []
    for done, row in enumerate(rows):
        if told:
            told(done / len(rows))
        number = labels_of(row)
        inputs = _padded([row], model.device)
        del inputs["attention_mask"]
        with torch.no_grad():
            results.append((float(model(**inputs, use_cache=False).loss) * number, number))
    return results


def answers_nll(model: Any, rows: Sequence[Tokens], *, packed: bool) -> torch.Tensor:
    """The summed NLL of each row's answers. The head, a fifth of a small model's work, is computed only where labels are."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    _check_head(causal)
    device = causal.device
    shared = 0
    if packed:
        ids = [row.input_ids for row in rows]
        shared = 0 if draws(model) else beginning(ids)
        inputs, moved = end_to_end(ids, device, shared)
    else:
        inputs = _padded(rows, device)
        del inputs["labels"]
        moved = [row * inputs["input_ids"].shape[1] for row in range(len(rows))]
    # A label is foretold one place before it stands.
    asked = [
        (place - 1 if place <= shared else place - 1 + moved[row], label, row)
        for row, tokens in enumerate(rows)
        for place, label in enumerate(tokens.labels)
        if label != IGNORED
    ]
    places, targets, owners = (torch.tensor(column, device=device) for column in zip(*asked, strict=True))
    hidden = causal.base_model(**inputs, use_cache=False).last_hidden_state.flatten(0, 1)[places]
    head = causal.get_output_embeddings()
    at_once = max(1, LOGITS_AT_ONCE // causal.config.get_text_config().vocab_size)
    if len(asked) <= at_once:
        nll = _head_nll(head, hidden, targets)
    else:
        parts = zip(torch.split(hidden, at_once), torch.split(targets, at_once), strict=True)
        nll = torch.cat([checkpoint(_head_nll, head, *part, use_reentrant=False) for part in parts])
    return torch.zeros(len(rows), device=device).index_add(0, owners, nll)


def _head_nll(head: Any, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return cross_entropy(head(hidden).float(), targets, reduction="none")


def _check_head(causal: Any) -> None:
    config = causal.config.get_text_config()
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise InvalidInput(f"base_model: {type(causal).__name__} changes its logits ({name}), which training does not know")


def _padded(rows: Sequence[Tokens], device: Any) -> dict[str, torch.Tensor]:
    width = max(len(row.input_ids) for row in rows)
    gaps = [width - len(row.input_ids) for row in rows]

    def filled(columns: Sequence[Sequence[int]], value: int) -> torch.Tensor:
        return torch.tensor([[*column, *[value] * gap] for column, gap in zip(columns, gaps, strict=True)], device=device)

    return {
        "input_ids": filled([row.input_ids for row in rows], 0),
        "attention_mask": filled([[1] * len(row.input_ids) for row in rows], 0),
        "labels": filled([row.labels for row in rows], IGNORED),
    }
