"""What the rest of a run will take, once its clusters and their gap are known: pairs, dollars, hours of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from goldsmith.kinds.uno.schema import UnoConfig
    from goldsmith.sessions import Session

BYTES_OF_TOKEN = 3.5  # of mixed German and English
FRAME_TOKENS = 250  # what a prompt says around a session; measured on our prompts: 120 to 380
GRADE_TOKENS = 80  # of a judge: a sentence and a number
RULES_TOKENS = 60  # of a session's rules: two or three sentences
JUDGE_SAMPLES = 3  # of a verification
ABLATED, VARIANTS = 50, 7  # questions and variants of an ablation where its options say nothing
ASSUMED_TOKENS_PER_S = 1000.0  # trained by a small GPU with a model of half a billion weights; a guess
SLOWER_TO_WRITE = 10.0  # a token written against a token trained on; a guess


@dataclass(frozen=True)
class Texts:
    """Mean tokens of a session's parts."""

    query: float
    answer: float
    feedback: float

    @classmethod
    def of(cls, sessions: Iterable[Session]) -> Texts:
        count = query = answer = feedback = 0
        for session in sessions:
            count += 1
            query += len(session.query_text.encode())
            answer += len(session.answer.encode())
            feedback += len((session.feedback or "").encode())
        per = max(1, count) * BYTES_OF_TOKEN
        return cls(query / per, answer / per, feedback / per)


def make(
    config: UnoConfig,
    clusters: Sequence[Mapping[str, Any]],
    texts: Texts,
    prices: Mapping[str, float],
    judge_prices: Mapping[str, float],
    measured: float | None,
    spent_usd: float,
) -> dict[str, Any]:
    """`clusters`: as the gap job left them. `measured`: tokens a second of a training of this base model, None where there was none."""
    speed = measured or ASSUMED_TOKENS_PER_S
    gets = wanted(config, clusters)
    rows = [_row(config, cluster, gets[cluster["cluster_id"]], texts, speed) for cluster in clusters]
    revised, graded = sum(row.pop("_revised") for row in rows), sum(row.pop("_graded") for row in rows)
    graded += ABLATED * VARIANTS if config.ablation is not None else 0
    usd = {"revised_answers": _revisions(revised, texts, prices), "grades": _grades(graded, texts, judge_prices)}
    expected = sum(usd.values())
    left = config.budget_usd - spent_usd
    how = (
        f"{measured:.0f} tokens a second, as the last training of this base model here"
        if measured
        else f"assumed, {ASSUMED_TOKENS_PER_S:.0f} tokens a second: no training of this base model has completed here"
    )
    return {
        "clusters": rows,
        "pairs_at_most": sum(row["pairs_at_most"] for row in rows),
        "trainings_at_most": sum(row["expert"] != "no" for row in rows) + sum(row["critic"] != "no" for row in rows),
        "questions": {"revised_answers": revised, "grades": graded},
        "usd": usd,
        "expected_usd": expected,
        "spent_usd": spent_usd,
        "left_usd": left,
        "fits_budget": expected <= left,
        "gpu_hours": sum(row["gpu_hours"] for row in rows),
        "based_on": [
            f"a session: {texts.query:.0f} tokens asked, {texts.answer:.0f} answered, {texts.feedback:.0f} said about it,"
            f" at {BYTES_OF_TOKEN} bytes a token",
            "every session of a cluster gives a pair; those without a gain or with equal texts will drop out",
            f"hours: {how}; a token written takes as long as {SLOWER_TO_WRITE:.0f} trained ones",
        ],
    }


@dataclass(frozen=True)
class Wanted:
    expert: bool
    critic: bool
    """Whatever becomes of the expert."""
    pairs: bool
    """They are bought before it is known how many experts there may be."""
    no_expert: str | None
    """Why not."""


def wanted(config: UnoConfig, clusters: Sequence[Mapping[str, Any]]) -> dict[str, Wanted]:
    """What each cluster gets, by its id."""
    found = {cluster["cluster_id"]: _wanted(config, cluster["decision"]) for cluster in clusters}
    largest = sorted(clusters, key=lambda cluster: (-cluster["size"], cluster["label"]))
    experts = [cluster["cluster_id"] for cluster in largest if found[cluster["cluster_id"]].expert]
    for cluster_id in experts[config.experts_at_most :] if config.experts_at_most is not None else []:
        found[cluster_id] = replace(found[cluster_id], expert=False, no_expert=f"experts_at_most is {config.experts_at_most}")
    return found


def _wanted(config: UnoConfig, decision: str) -> Wanted:
    if decision in ("fallback", "unknown"):
        buys = decision == "unknown" and config.adapters == "all"
        return Wanted(False, False, buys, f"the gap's decision is {decision}")
    if config.adapters == "all":
        return Wanted(True, True, True, None)
    if decision == "primary":
        return Wanted(True, False, True, None)
    return Wanted(False, True, False, f"the gap's decision is {decision}")


def _row(config: UnoConfig, cluster: Mapping[str, Any], gets: Wanted, texts: Texts, speed: float) -> dict[str, Any]:
    expert, critic = gets.expert, gets.critic
    size, bought = cluster["size"], cluster["size"] if gets.pairs else 0
    heldout = size - int(0.8 * size)
    train, pairs = cast("dict[str, Any]", config.train), cast("dict[str, Any]", config.pairs)  # a submit has checked them
    epochs = float(train.get("num_train_epochs", 8))
    candidates = bought * pairs.get("samples", 3) * len(pairs.get("contexts", ("feedback", "rules")))
    graded = pairs.get("judge_samples", 1)
    gain = pairs.get("require_gain", True)
    one = texts.query + texts.answer
    trained = (2 * one * (size - heldout) * epochs if expert else 0) + (
        (one + RULES_TOKENS) * (size - heldout) * epochs if critic else 0
    )
    written = heldout * (epochs + 1) * texts.answer if expert else 0
    return {
        "label": cluster["label"],
        "cluster_id": cluster["cluster_id"],
        "size": cluster["size"],
        "gap": cluster["mu"],
        "decision": cluster["decision"],
        "pairs_at_most": bought,
        "expert": "yes" if expert else "no",
        "critic": "yes" if critic else "if the expert does not pass" if expert else "no",
        "gpu_hours": (trained + SLOWER_TO_WRITE * written) / speed / 3600,
        "_revised": candidates,
        "_graded": (candidates + (bought if gain else 0)) * graded
        + (heldout * (int(epochs) + 1) * JUDGE_SAMPLES if expert else 0),
    }


def _revisions(count: int, texts: Texts, prices: Mapping[str, float]) -> float:
    read = FRAME_TOKENS + texts.query + texts.answer / 2 + texts.feedback + RULES_TOKENS / 2  # one context in two has them
    return count * (read * prices["input"] + texts.answer * prices["output"]) / 1e6


def _grades(count: int, texts: Texts, prices: Mapping[str, float]) -> float:
    read = FRAME_TOKENS + texts.query + texts.answer + RULES_TOKENS
    return count * (read * prices["input"] + GRADE_TOKENS * prices["output"]) / 1e6


def in_words(plan: Mapping[str, Any]) -> str:
    """One line."""
    rows = plan["clusters"]
    going = sum(row["expert"] == "yes" or row["critic"] == "yes" for row in rows)
    fits = "" if plan["fits_budget"] else f", MORE THAN the {plan['left_usd']:.2f} left of the budget"
    return (
        f"{len(rows)} clusters, {going} of them to learn from; at most {plan['pairs_at_most']} pairs and"
        f" {plan['trainings_at_most']} trainings; about {plan['expected_usd']:.2f} USD more{fits}, {plan['gpu_hours']:.1f} GPU hours"
    )
