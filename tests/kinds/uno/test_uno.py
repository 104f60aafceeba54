"""The orchestrator: what it submits when, what it waits for, what it says. The jobs' own ends are played here."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest

from goldsmith.errors import Requeue
from goldsmith.kinds.uno.run import BudgetSpent, run
from goldsmith.kinds.uno.schema import UnoConfig, UnoResult
from goldsmith.kinds.uno.steps import StepFailed
from goldsmith.sessions import Session
from tests.fakes import FakeContext

LOG = "upload:0190a6f0-0000-7000-8000-000000000001"


class Prices:
    prices: dict[str, Any] = {"input": 3.0, "output": 15.0}

    async def aclose(self) -> None: ...


def config(**more: Any) -> UnoConfig:
    said = {"name": "museum", "upload": LOG, "teacher": "rehearsal", "budget_usd": 10.0, "approve": "now"}
    return UnoConfig.model_validate(said | more)


def cluster(label: int, decision: str, size: int = 100, mu: float | None = 0.3) -> dict[str, Any]:
    return {"label": label, "cluster_id": f"c{label}", "size": size, "scored": size, "mu": mu, "decision": decision}


def learned(label: int, *, pairs: bool = True, critic: bool = True) -> dict[str, Any]:
    return {
        "label": label,
        "cluster_id": f"c{label}",
        "pairs": f"dataset:museum-c{label}-pairs@1" if pairs else None,
        "critic": f"dataset:museum-c{label}-critic@1" if critic else None,
        "pairs_train": 64 if pairs else 0,
        "pairs_heldout": 16 if pairs else 0,
        "critic_rows": 80,
        "dropped": {},
        "refused": None if pairs else "4 pairs, 10 are needed",
    }


class Play:
    """One uno job: `look` is an attempt, `end` a job's end."""

    def __init__(self, tmp_path: Path, config: UnoConfig) -> None:
        self.tmp_path, self.config, self.attempt = tmp_path, config, 0
        self.ctx = FakeContext(tmp_path, kind="uno")
        self.ctx.teacher_factory = lambda *_, **__: Prices()  # type: ignore[return-value,assignment]
        ref = f"job:{self.id('sessions')}"
        texts = [Session(n, f"s{n}", "chat", "q" * 70, "a" * 350, "f" * 35, "turns") for n in range(3)]
        self.ctx.saved_sessions[ref] = texts

    def id(self, key: str) -> UUID:
        return uuid5(self.ctx.job_id, key)

    def end(self, key: str, result: dict[str, Any] | None = None, *, status: str = "completed", cost: float = 0.0) -> None:
        job = self.ctx.children[self.id(key)]
        error = {"title": "The run broke", "detail": "no encoder here"} if status == "failed" else None
        ended = {"status": status, "progress": 100.0, "result": result, "error": error, "completed_at": datetime.now(UTC)}
        self.ctx.children[job.id] = job.model_copy(update=ended | {"cost_usd": cost})

    def look(self) -> UnoResult | Requeue:
        """A worker that was killed in between would not make a difference: every look is a new one."""
        try:
            return asyncio.run(run(self.config, self.ctx))
        except Requeue as put_back:
            return put_back

    def to_the_plan(self, *clusters: dict[str, Any]) -> None:
        self.look()
        self.end("sessions", {"sessions": 300})
        self.end("rules", {"rehearsal": True}, cost=1.0)
        self.end("cluster", {"encoder": "minilm", "space": "unit", "delta_sse_max": 8.0})
        self.end("gap", {"clusters": list(clusters), "gap_method": "reranker"})

    def route(self, **paths: str) -> None:
        clusters = [{"cluster_id": cluster_id, "path": path, "why": f"{path}, as played"} for cluster_id, path in paths.items()]
        self.end("router", {"outlier_distance": 1.2, "clusters": clusters})

    @property
    def keys(self) -> list[str]:
        return list(self.ctx.submitted)


def test_the_first_look_submits_the_way_to_the_gap_and_waits(tmp_path: Path) -> None:
    play = Play(tmp_path, config())
    put_back = play.look()
    assert isinstance(put_back, Requeue)
    assert 1 <= put_back.after_s <= 30
    assert play.keys == ["sessions", "rules", "cluster", "gap"]
    bodies = play.ctx.submitted
    assert bodies["rules"]["sessions"] == f"job:{play.id('sessions')}"
    assert bodies["rules"]["budget_usd"] == 10.0
    assert bodies["gap"] == {"kind": "gap", "clusters": f"job:{play.id('cluster')}"}
    play.look()
    assert len(play.keys) == 4


def test_a_low_gap_gets_an_expert_a_high_one_a_critic_and_a_failed_gate_too(tmp_path: Path) -> None:
    play = Play(tmp_path, config(train={"num_train_epochs": 2}))
    play.to_the_plan(
        cluster(0, "primary"), cluster(1, "reflective", mu=0.7), cluster(2, "primary"), cluster(3, "fallback", 9, None)
    )
    play.look()
    assert play.ctx.submitted["pairs"]["budget_usd"] == 9.0
    play.end("pairs", {"clusters": [learned(0), learned(1), learned(2)], "require_gain": True}, cost=1.0)
    play.look()
    assert play.keys[5:] == ["expert-c0", "verify-c0", "critic-c1", "expert-c2", "verify-c2"]
    expert = play.ctx.submitted["expert-c0"]
    assert expert | {"objective": "dpo_nll", "role": "expert", "keep_epochs": True, "num_train_epochs": 2} == expert
    gates = [play.ctx.submitted[key]["budget_usd"] for key in ("verify-c0", "verify-c2")]
    assert gates == [pytest.approx(4.0)] * 2

    for key in ("expert-c0", "expert-c2", "critic-c1"):
        play.end(key, {"adapter": f"adapter:museum-{key}@1"})
    won = {"adapter": "adapter:museum-c0-expert@1", "win_rate": 0.7, "interval": [0.55, 0.83], "passed": True, "gate": "halves"}
    play.end("verify-c0", won, cost=0.5)
    play.look()
    assert "router" not in play.keys
    play.end("verify-c2", won | {"adapter": "adapter:museum-c2-expert@1", "win_rate": 0.5, "passed": False}, cost=0.5)
    play.look()
    assert play.keys[-1] == "critic-c2"
    play.end("critic-c2", {"adapter": "adapter:museum-critic-c2@1"})
    play.look()
    router = play.ctx.submitted["router"]
    assert router["verified"] == [f"job:{play.id(key)}" for key in ("verify-c0", "verify-c2")]
    assert router["critic_trainings"] == [f"job:{play.id(key)}" for key in ("critic-c1", "critic-c2")]
    play.route(c0="primary", c1="reflective", c2="reflective", c3="base")
    result = play.look()
    assert isinstance(result, UnoResult)
    assert [one.path for one in result.clusters] == ["primary", "reflective", "reflective", "base"]
    assert [one.passed for one in result.clusters] == [True, None, False, None]
    assert result.spent_usd == 3.0
    assert result.label == "REHEARSAL"
    made_by = {"space": "unit", "gap_method": "reranker", "require_gain": True, "gate": "halves", "adapters": "as_needed"}
    assert result.variant | made_by == result.variant
    table = play.ctx.artifact(result.table).read_text()
    assert "0.70 [0.55, 0.83]: passed" in table
    assert "REHEARSAL" in table


def test_too_few_pairs_make_no_expert_but_a_critic(tmp_path: Path) -> None:
    play = Play(tmp_path, config())
    play.to_the_plan(cluster(0, "primary"), cluster(1, "unknown", mu=None))
    play.look()
    play.end("pairs", {"clusters": [learned(0, pairs=False), learned(1)]})
    play.look()
    assert play.keys[5:] == ["critic-c0"]


def test_all_adapters_are_trained_where_that_is_asked_for(tmp_path: Path) -> None:
    play = Play(tmp_path, config(adapters="all"))
    play.to_the_plan(cluster(0, "primary"), cluster(1, "reflective"))
    play.look()
    play.end("pairs", {"clusters": [learned(0), learned(1)]})
    play.look()
    assert {"expert-c0", "critic-c0", "expert-c1", "critic-c1"} < set(play.keys)


def test_experts_go_to_the_largest_clusters_where_there_may_be_few(tmp_path: Path) -> None:
    play = Play(tmp_path, config(experts_at_most=1))
    play.to_the_plan(cluster(0, "primary", 50), cluster(1, "primary", 70), cluster(2, "reflective", 90))
    play.look()
    play.end("pairs", {"clusters": [learned(0), learned(1), learned(2)]})
    play.look()
    assert play.keys[5:] == ["expert-c1", "verify-c1", "critic-c2"]
    for key in ("expert-c1", "critic-c2"):
        play.end(key, {})
    play.end("verify-c1", {"passed": True, "adapter": "adapter:a@1", "win_rate": 0.9, "interval": [0.6, 1.0]})
    play.look()
    play.route(c0="base", c1="primary", c2="reflective")
    result = play.look()
    assert isinstance(result, UnoResult)
    why = [one.no_expert for one in result.clusters]
    assert why == ["experts_at_most is 1", None, "the gap's decision is reflective"]


def test_an_expert_of_which_no_epoch_won_is_none_and_the_gate_says_why(tmp_path: Path) -> None:
    play = Play(tmp_path, config())
    play.to_the_plan(cluster(0, "primary"))
    play.look()
    play.end("pairs", {"clusters": [learned(0)]})
    play.look()
    play.end("expert-c0", {})
    play.end("verify-c0", {"passed": False, "adapter": None, "win_rate": None, "interval": None, "why": "no epoch won"})
    play.look()
    play.end("critic-c0", {"adapter": "adapter:museum-c0-critic@1"})
    play.look()
    play.route(c0="reflective")
    result = play.look()
    assert isinstance(result, UnoResult)
    assert result.clusters[0].no_expert == "no epoch won"
    assert "no expert: no epoch won" in play.ctx.artifact(result.table).read_text()


def test_a_gate_that_no_epoch_came_near_says_why_there_is_no_expert(tmp_path: Path) -> None:
    play = Play(tmp_path, config())
    play.to_the_plan(cluster(0, "primary"))
    play.look()
    play.end("pairs", {"clusters": [learned(0)]})
    play.look()
    play.end("expert-c0", {})
    play.end(
        "verify-c0", {"passed": False, "adapter": None, "win_rate": None, "interval": None, "why": "no epoch won anything"}
    )
    play.look()
    play.end("critic-c0", {"adapter": "adapter:a@1"})
    play.look()
    play.route(c0="reflective")
    result = play.look()
    assert isinstance(result, UnoResult)
    assert (result.clusters[0].expert, result.clusters[0].no_expert) == (None, "no epoch won anything")


def test_the_plan_waits_for_an_approval_and_says_what_the_rest_takes(tmp_path: Path) -> None:
    play = Play(tmp_path, config(approve="plan", pairs={"samples": 2}, train={"num_train_epochs": 4}))
    play.to_the_plan(cluster(0, "primary"), cluster(1, "reflective", 50))
    for _ in range(2):
        put_back = play.look()
        assert isinstance(put_back, Requeue)
        assert "waits for approval" in put_back.reason
    assert "pairs" not in play.keys
    assert len(play.ctx.logs) == 1  # said once
    plan = json.loads(play.ctx.artifact(f"{play.ctx.ref}/plan.json").read_text())
    assert plan["pairs_at_most"] == 100
    assert [row["expert"] for row in plan["clusters"]] == ["yes", "no"]
    # 2 contexts x 2 samples; each candidate and the old answer graded once; 20 held-out questions, 5 models, 3 samples
    assert plan["questions"] == {"revised_answers": 400, "grades": 400 + 100 + 20 * 5 * 3}
    assert plan["usd"]["revised_answers"] == pytest.approx(400 * ((250 + 20 + 50 + 10 + 30) * 3 + 100 * 15) / 1e6)
    assert plan["usd"]["grades"] == pytest.approx(800 * ((250 + 20 + 100 + 60) * 3 + 80 * 15) / 1e6)
    # 80 pairs, both answers, 4 epochs; 20 x 5 answers of 100 tokens written; 40 critic rows of 180 tokens, 4 epochs
    tokens = 80 * 2 * 120 * 4 + 10 * 20 * 5 * 100 + 40 * 180 * 4
    assert plan["gpu_hours"] == pytest.approx(tokens / 1000 / 3600)
    assert plan["fits_budget"]
    play.ctx.is_approved = True
    play.look()
    assert play.keys[-1] == "pairs"


def test_the_plan_knows_the_speed_of_an_earlier_training(tmp_path: Path) -> None:
    play = Play(tmp_path, config())
    play.ctx.last_results["train"] = {"tokens_per_s": 100.0}
    play.to_the_plan(cluster(0, "reflective"))
    play.look()
    plan = json.loads(play.ctx.artifact(f"{play.ctx.ref}/plan.json").read_text())
    assert plan["gpu_hours"] == pytest.approx(80 * 180 * 8 / 100 / 3600)
    assert any("100 tokens a second" in line for line in plan["based_on"])


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_a_child_that_did_not_complete_ends_all_with_its_reason(tmp_path: Path, how: str) -> None:
    play = Play(tmp_path, config())
    play.look()
    play.end("sessions", {})
    play.end("rules", {})
    play.end("cluster", status=how)
    with pytest.raises(StepFailed, match="no encoder here" if how == "failed" else "was cancelled") as failed:
        play.look()
    assert failed.value.extra["job"] == f"job:{play.id('cluster')}"
    assert play.ctx.child(play.id("gap")).status == "cancelled"


def test_what_is_spent_is_not_there_for_what_follows(tmp_path: Path) -> None:
    play = Play(tmp_path, config(budget_usd=1.0))
    play.to_the_plan(cluster(0, "primary"))
    with pytest.raises(BudgetSpent, match="1"):
        play.look()
    assert "pairs" not in play.keys


def test_a_judge_of_its_own_grades_and_the_ablation_keeps_its_part(tmp_path: Path) -> None:
    play = Play(tmp_path, config(judge="anthropic", judge_model="claude", gap={"method": "judge"}, ablation="cheap"))
    play.look()
    assert play.keys == ["sessions", "rules", "cluster"]
    play.end("sessions", {})
    play.end("rules", {}, cost=2.0)
    play.end("cluster", {})
    play.look()
    assert (
        play.ctx.submitted["gap"] | {"teacher": "anthropic", "model": "claude", "budget_usd": 8.0} == play.ctx.submitted["gap"]
    )
    play.end("gap", {"clusters": [cluster(0, "primary")]}, cost=3.0)
    play.look()
    play.end("pairs", {"clusters": [learned(0)]})
    play.look()
    assert play.ctx.submitted["verify-c0"]["budget_usd"] == pytest.approx(0.8 * 5)
    play.end("expert-c0", {})
    play.end("verify-c0", {"passed": True, "adapter": "adapter:a@1", "win_rate": 0.9, "interval": [0.6, 1.0]}, cost=1.0)
    play.look()
    play.route(c0="primary")
    play.look()
    assert play.ctx.submitted["ablation"]["budget_usd"] == pytest.approx(4.0)
    assert play.ctx.submitted["ablation"]["other_gap"] == f"job:{play.id('gap-embedding')}"
    assert play.ctx.submitted["gap-embedding"]["method"] == "embedding"
    play.end("gap-embedding", {})
    play.end("ablation", {})
    result = play.look()
    assert isinstance(result, UnoResult)
    assert result.ablation == f"job:{play.id('ablation')}"


def test_the_progress_tells_of_the_jobs_under_way(tmp_path: Path) -> None:
    play = Play(tmp_path, config())
    play.look()
    job = play.ctx.children[play.id("sessions")]
    play.ctx.children[job.id] = job.model_copy(update={"status": "running", "progress": 40.0, "message": "read 12 rows"})
    play.look()
    percent, message, _ = play.ctx.events[-1]
    assert percent == pytest.approx(0.8)
    assert message.startswith("sessions 40 %: read 12 rows; rules: queued")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"upload": None}, "runs"),
        ({"runs": "job:0190a6f0-0000-7000-8000-000000000001"}, "runs"),
        ({"clustering": {"rules": "job:0190a6f0-0000-7000-8000-000000000001"}}, "clustering.rules"),
        ({"train": {"role": "critic"}}, "train.role"),
        ({"name": "x" * 33}, "name"),
        ({"judge_model": "claude"}, "judge_model"),
        ({"ablation": "some"}, "ablation"),
        ({"approve": "later"}, "approve"),
    ],
)
def test_a_bad_config_names_its_field(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field.replace(".", r"\.")):
        config(**wrong)
