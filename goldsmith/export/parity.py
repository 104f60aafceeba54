"""The gate: frozen prompts go through the trained model and through what is served, token by token."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any, Literal, Protocol

import torch

from goldsmith.adapters import AdapterVersion
from goldsmith.datasets import Example
from goldsmith.errors import GoldsmithError
from goldsmith.export.report import Difference, Parity, Tolerance, failed
from goldsmith.student import Student, Told
from goldsmith.student.conversation import prompt_ids, tokenize

# Digits, umlauts, contractions, blanks, signs outside of the basic plane: where tokenizers differ. Used beside held-out prompts.
BUILT_IN = (
    "It's 1984, Ü-Übung über   3.14159 and 100,000 „Wörter“:\n\n\t- don't\r\n  - 中文 and 🎨🦊\n",
    "Rewrite this for a painter: a red fox in the snow.",
    "Beschreibe ein Boot auf dem Fluss bei Nacht, in einem Satz.",
    "What is the capital of France?",
    "List three colours of autumn leaves.",
    "Erzähle von einem Turm aus Glas.",
    "Write one sentence about a kite above a bridge.",
    "Name a tool that a weaver uses, and say what for.",
)
NEARER = 2.0
"""What is served counts as the base model when it is so many times nearer to that than to the trained model."""
NO_EFFECT = 1e-3
"""An adapter that changes log-probabilities by less, in the mean, cannot be told from its base model."""


class ServedDiffers(GoldsmithError):
    """What is served does not answer like what was trained."""

    title = "Parity failed"


@dataclass(frozen=True)
class Probe:
    """A frozen prompt and what the trained model makes of it."""

    messages: list[dict[str, str]]
    ids: list[int]
    given: list[int]
    """The beginning of an answer that is not the model's own: a held-out one, after which it should stop."""
    said: list[int]
    """The likeliest tokens from there, one after the other; the one that closes the answer included, if it did."""
    logprobs: list[float]
    margins: list[float]
    """By how much each was likelier than the next one."""
    base_says: list[int]
    """The base model's likeliest token after the same ones."""
    base_logprobs: list[float]
    """The base model's, of `said`."""


@dataclass(frozen=True)
class Said:
    """A token that is served; `id` is None where all that is known is that it is another one."""

    id: int | None
    logprob: float | None
    text: str = ""


class Served(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def by(self) -> Literal["transformers", "llama.cpp", "ollama"]: ...

    def prompt(self, probe: Probe) -> list[int] | int:
        """The ids that it reads before it answers, or only how many, where it tells no more."""

    def continued(self, probe: Probe, done: int) -> list[Said]:
        """What it says after the prompt, what is given and the first `done` tokens of `said`, up to the first other token.

        Nothing, where it cannot be asked there.
        """


def frozen_prompts(
    heldout: Iterable[Example], tokenizer: Any, number: int, room: int
) -> list[tuple[list[dict[str, str]], str]]:
    """Conversations with the answer that is held out, if there is one: the built-in one that is hard to tokenize, then held-out
    rows in an order that only their text decides, then more built-in ones. None is longer than `room` tokens with its answer."""
    rows = []
    for example in heldout:
        turns = [message.model_dump() for message in example.messages]
        answer = turns.pop()["content"] if turns[-1]["role"] == "assistant" else ""
        rows.append((turns, answer))
    rows.sort(key=lambda row: hashlib.sha256(str(row[0]).encode()).digest())
    built_in = [([{"role": "user", "content": text}], "") for text in BUILT_IN]
    fitting = (row for row in (built_in[0], *rows, *built_in[1:]) if _length(tokenizer, *row) <= room)
    return list(islice(fitting, number))


def _length(tokenizer: Any, messages: list[dict[str, str]], answer: str) -> int:
    if not answer:
        return len(prompt_ids(tokenizer, messages))
    return len(tokenize(tokenizer, [*messages, {"role": "assistant", "content": answer}]).input_ids)


def probe(
    student: Student,
    adapter: AdapterVersion,
    prompts: Sequence[tuple[list[dict[str, str]], str]],
    max_new_tokens: int,
    told: Told,
) -> list[Probe]:
    """What the trained model says to each prompt, and after each held-out answer; and the base model in its place."""
    student.use(adapter)
    asked: list[tuple[list[dict[str, str]], list[int], list[int], list[int]]] = []
    for number, (messages, answer) in enumerate(prompts):
        told(0.8 * number / len(prompts))
        ids = prompt_ids(student.tokenizer, messages)
        asked.append((messages, ids, [], _greedy(student, ids, max_new_tokens)))
        if answer:
            whole = tokenize(student.tokenizer, [*messages, {"role": "assistant", "content": answer}]).input_ids
            given = whole[len(ids) : -1]
            asked.append((messages, ids, given, _greedy(student, ids + given, 1)))
    trained = [_steps(student, ids + given, said) for _, ids, given, said in asked]
    told(0.9)
    student.use(None)
    base = [_steps(student, ids + given, said) for _, ids, given, said in asked]
    student.use(adapter)
    probes = []
    for (messages, ids, given, said), mine, other in zip(asked, trained, base, strict=True):
        top = mine.topk(2).values
        places = torch.tensor(said)[:, None]
        probes.append(
            Probe(
                messages=messages,
                ids=ids,
                given=given,
                said=said,
                logprobs=mine.gather(1, places)[:, 0].tolist(),
                margins=(top[:, 0] - top[:, 1]).tolist(),
                base_says=other.argmax(1).tolist(),
                base_logprobs=other.gather(1, places)[:, 0].tolist(),
            )
        )
    return probes


def _greedy(student: Student, ids: list[int], limit: int) -> list[int]:
    prompt = torch.tensor([ids], device=student.model.device)
    with torch.inference_mode():
        out = student.model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=limit,
            do_sample=False,
            repetition_penalty=1.0,
            eos_token_id=student.tokenizer.eos_token_id,
            pad_token_id=student.tokenizer.pad_token_id,
        )
    said: list[int] = out[0, len(ids) :].tolist()
    return said


def _steps(student: Student, before: list[int], said: list[int]) -> torch.Tensor:
    """Log-probabilities of every token at each place of `said`."""
    return steps(student.model, before, said)


def steps(model: Any, before: list[int], said: list[int]) -> torch.Tensor:
    ids = torch.tensor([before + said[:-1]], device=model.device)
    with torch.inference_mode():
        logits = model(input_ids=ids, logits_to_keep=len(said), use_cache=False).logits[0]
    return torch.log_softmax(logits.float(), dim=-1).cpu()


def compare(served: Served, probes: Sequence[Probe], tolerance: Tolerance, tokenizer: Any) -> Parity:
    """Every probe through what is served. Where the trained model itself wavers, what it said is given and both go on."""
    differences: list[Difference] = []
    matched: list[tuple[float, float, float]] = []  # log-probabilities: served, trained, base
    tokens = undecided = stops = own_words = 0
    largest = 0.0
    for number, one in enumerate(probes):
        found = _template(served, one, tokenizer) if not one.given else None
        if found is not None:
            differences.append(Difference(prompt=number, what="template", detail=found))
            continue
        done = 0
        while done < len(one.said):
            before = done
            for said in served.continued(one, done):
                expected, same = one.said[done], said.id == one.said[done]
                if not same and one.margins[done] > tolerance.margin:
                    differences.append(_token(number, one, done, said, tokenizer))
                    done = len(one.said)
                    break
                tokens += 1
                stops += expected == tokenizer.eos_token_id
                undecided += not same
                if same and one.base_says[done] != expected:
                    own_words += 1
                if same and said.logprob is not None:
                    matched.append((said.logprob, one.logprobs[done], one.base_logprobs[done]))
                    off = abs(said.logprob - one.logprobs[done])
                    largest = max(largest, off)
                    if off > tolerance.bound:
                        differences.append(_logprob(number, one, done, off, tolerance, tokenizer))
                        done = len(one.said)
                        break
                done += 1
                if not same or done == len(one.said):
                    break
            if done == before:
                if done == 0 and not one.given:
                    differences.append(Difference(prompt=number, what="stop", detail="it says nothing"))
                break
    base = [abs(mine - other) for one in probes for mine, other in zip(one.logprobs, one.base_logprobs, strict=True)]
    base_difference = sum(base) / len(base)
    if not differences and (why := _base_only(matched, base_difference, own_words, tolerance)):
        differences.append(Difference(prompt=0, what="adapter", detail=why))
    return Parity(
        served=served.name,
        by=served.by,
        tolerance=tolerance,
        prompts=sum(not one.given for one in probes),
        tokens=tokens,
        undecided=undecided,
        stops=stops,
        largest_difference=largest if matched else None,
        mean_difference=sum(abs(mine - other) for mine, other, _ in matched) / len(matched) if matched else None,
        base_difference=base_difference,
        own_words=own_words,
        differences=differences,
    )


def require(parities: list[Parity]) -> None:
    """Raise `ServedDiffers` that says what differs, unless nothing does."""
    if any(not one.passed for one in parities):
        raise ServedDiffers(f"what is served differs from what was trained: {failed(parities)}")


def as_json(probes: Sequence[Probe], parities: Sequence[Parity]) -> dict[str, Any]:
    return {"probes": [asdict(one) for one in probes], "parity": [one.model_dump(mode="json") for one in parities]}


def _template(served: Served, probe: Probe, tokenizer: Any) -> str | None:
    found = served.prompt(probe)
    if isinstance(found, int):
        return None if found == len(probe.ids) else f"it reads {found} tokens, the trained model {len(probe.ids)}"
    if found == probe.ids:
        return None
    pairs = zip([*found, None], [*probe.ids, None], strict=False)
    place = next(place for place, (one, other) in enumerate(pairs) if one != other)
    return (
        f"token {place} of the prompt is {_shown(tokenizer, found[place : place + 4])}, not"
        f" {_shown(tokenizer, probe.ids[place : place + 4])} ({len(found)} tokens, not {len(probe.ids)})"
    )


def _token(number: int, probe: Probe, place: int, said: Said, tokenizer: Any) -> Difference:
    expected, closing = probe.said[place], tokenizer.eos_token_id
    text = _shown(tokenizer, [said.id]) if said.id is not None else repr(said.text[:60])
    detail = (
        f"token {place} of the answer is {text}, not {_shown(tokenizer, [expected])}, which the trained model prefers by"
        f" {probe.margins[place]:.3g}"
    )
    return Difference(prompt=number, what="stop" if closing in (expected, said.id) else "token", detail=detail)


def _logprob(number: int, probe: Probe, place: int, off: float, tolerance: Tolerance, tokenizer: Any) -> Difference:
    text = _shown(tokenizer, probe.said[place : place + 1])
    detail = (
        f"token {place} of the answer, {text}: its log-probability is {off:.3g} off; at most {tolerance.bound:g} is allowed"
    )
    return Difference(prompt=number, what="logprob", detail=detail)


def _base_only(
    matched: list[tuple[float, float, float]], base_difference: float, own_words: int, tolerance: Tolerance
) -> str | None:
    """Why what is served may be the base model alone."""
    if base_difference < NO_EFFECT:
        return None  # it makes no difference which of both is served
    if matched:
        to_trained = sum(abs(served - trained) for served, trained, _ in matched)
        to_base = sum(abs(served - base) for served, _, base in matched)
        return (
            "its log-probabilities are those of the base model, not of the adapter" if NEARER * to_base < to_trained else None
        )
    if own_words == 0:
        return "on these prompts the adapter says what its base model says, so neither can be told from the other; ask more of them"
    return None


def _shown(tokenizer: Any, ids: Sequence[int | None]) -> str:
    return repr(tokenizer.decode([one for one in ids if one is not None]))
