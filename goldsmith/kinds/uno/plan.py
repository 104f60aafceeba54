"""What the rest of a run will take, once its clusters and their gap are known: pairs, dollars, hours of training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from goldsmith.kinds.uno import compared

if TYPE_CHECKING:
    from goldsmith.kinds.uno.schema import UnoConfig
    from goldsmith.sessions import Session

BYTES_OF_TOKEN = 3.5  # of mixed German and English
FRAME_TOKENS = 250  # what a prompt says around a session; measured on our prompts: 120 to 380
GRADE_TOKENS = 80  # of a judge: a sentence and a number
RULES_TOKENS = 60  # of a session's rules: two or three sentences
JUDGE_SAMPLES = 3  # of a verification
ABLATED, VARIANTS = 50, 8  # questions and variants of an ablation where its options say nothing
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
    configs: Mapping[str, int],
    texts: Texts,
    prices: Mapping[str, float],
    judge_prices: Mapping[str, float],
    measured: float | None,
    spent_usd: float,
) -> dict[str, Any]:
    """`clusters`: as the gap job left them. `configs`: how many sessions each has. `measured`: tokens a second of a training of this
    base model, None where there was none."""
    speed = measured or ASSUMED_TOKENS_PER_S
    gets = wanted(config, clusters)
    rows = [_row(config, cluster, gets[cluster["cluster_id"]], texts, speed) for cluster in clusters]
    bought = sum(row["pairs_at_most"] for row in rows)
    beside = _compared(config, sum(row["size"] for row in rows), bought, configs, texts, speed)
    revised, graded = (sum(row.pop(what) for row in (*rows, *beside)) for what in ("_revised", "_graded"))
    graded += ABLATED * VARIANTS * JUDGE_SAMPLES if config.ablation is not None else 0
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
        "compared": beside,
        "pairs_at_most": bought + sum(row["pairs_at_most"] for row in beside),
        "trainings_at_most": sum(row["expert"] != "no" for row in rows)
        + sum(row["critic"] != "no" for row in rows)
        + sum(row["trainings"] for row in beside),
        "questions": {"revised_answers": revised, "grades": graded},
        "usd": usd,
        "expected_usd": expected,
        "spent_usd": spent_usd,
        "left_usd": left,
        "fits_budget": expected <= left,
        "gpu_hours": sum(row["gpu_hours"] for row in (*rows, *beside)),
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
    epochs = _epochs(config)
    revised, graded = _questions(config, bought)
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
        "_revised": revised,
        "_graded": graded + (heldout * (int(epochs) + 1) * JUDGE_SAMPLES if expert else 0),
    }


def _compared(
    config: UnoConfig, sessions: int, bought: int, configs: Mapping[str, int], texts: Texts, speed: float
) -> list[dict[str, Any]]:
    """The adapters that the ablation compares UNO with: what is bought for one is in the ledger for the next."""
    found = []
    for variant in compared.wanted(config):
        least = cast("int", config.pairs.get("min_pairs", 10))
        groups = {"": sessions} if variant == "unclustered" else {one: n for one, n in configs.items() if n >= least}
        absent = None
        if not groups:
            absent = f"no config has {least} sessions" if configs else "no session of the log has a config"
        learned = sum(groups.values())
        new = max(0, learned - bought)
        bought += new
        revised, graded = _questions(config, new)
        found.append(
            {
                "variant": variant,
                "absent": absent,
                "sessions": learned,
                "pairs_at_most": new,
                "trainings": len(groups),
                "gpu_hours": 2 * (texts.query + texts.answer) * 0.8 * learned * _epochs(config) / speed / 3600,
                "_revised": revised,
                "_graded": graded,
            }
        )
    return found


def _epochs(config: UnoConfig) -> float:
    return float(cast("float", config.train.get("num_train_epochs", 8)))  # a submit has checked it


def _questions(config: UnoConfig, bought: int) -> tuple[int, int]:
    """Revised answers of so many sessions, and grades."""
    pairs = cast("dict[str, Any]", config.pairs)
    candidates = bought * pairs.get("samples", 3) * len(pairs.get("contexts", ("feedback", "rules")))
    gain = pairs.get("require_gain", True)
    return candidates, (candidates + (bought if gain else 0)) * pairs.get("judge_samples", 1)


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
