"""Reports as `GET /v1/experiments/{id}/report` gives them, for the pages: an experiment at each moment of its life."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

Report = dict[str, Any]
Make = Callable[[], Report]

ID = "01a1fee9-3da2-7ad9-af70-baea227228cb"
BEGAN = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
HASH = "9f2c4be1d07a6f0c8bd1e2a35c7790144efbb2a9d6b0c3fe5518a7cc0de9b3a4"
ARMS = [
    {"name": "base", "weight": 0.9, "adapter": None, "alias": None, "model": "qwen3:1.7b"},
    {"name": "lora", "weight": 0.1, "adapter": "adapter:workshop@3", "alias": "challenger", "model": "qwen3:workshop-3"},
]
PLAN = {
    "name": "clay-lora",
    "arms": [{key: arm[key] for key in ("name", "adapter", "model")} for arm in ARMS],
    "unit": "device_id",
    "configs": ["clay_workshop", "loom"],
    "alpha": 0.05,
    "min_units": 200,
    "ramp": [
        {"weights": {"base": 0.99, "lora": 0.01}, "min_units": 50, "min_hours": 1, "approval": False},
        {"weights": {"base": 0.9, "lora": 0.1}, "min_units": 500, "min_hours": 24, "approval": False},
        {"weights": {"base": 0.5, "lora": 0.5}, "min_units": 2000, "min_hours": 48, "approval": True},
    ],
}


def at(hours: float) -> str:
    return (BEGAN + timedelta(hours=hours)).isoformat()


def empty() -> Report:
    """A running experiment to which nothing came."""
    experiment = {
        "id": ID, "name": "clay-lora", "version": 2, "supersedes": None, "plan_sha256": HASH, "status": "running", "salt": "a-salt-of-ours",
        "step": 0, "step_started_at": at(0), "held_reason": None, "cooldown_until": None, "forced": None, "plan": PLAN, "arms": ARMS,
        "created_by": "anna", "created_at": at(-1), "started_at": at(0), "ended_at": None,
    }  # fmt: skip
    started = decision(1, "start", "Started by hand.", actor="anna", created_at=at(0))
    return copy.deepcopy({"experiment": experiment, "look": None, "looks": [], "decisions": [started]})


def decision(number: int, name: str, reason: str, **more: Any) -> dict[str, Any]:
    made = {
        "id": str(UUID(int=number)),
        "decision": name,
        "reason": reason,
        "statistics": {},
        "actor": "guard",
        "job_id": None,
        "probe": None,
    }
    return made | {"created_at": at(number)} | more


def running() -> Report:
    """In the second step of its ramp, all guardrails fine but one that cannot be computed."""
    report = empty()
    report["experiment"] |= {"step": 1, "step_started_at": at(3)}
    report["look"] = {
        "at": at(30), "events": 21_877, "pending_events": 0, "rehearsal": False,
        "verdict": {"decision": "continue", "reason": "Neither arm is proved better; 203 of 500 units are in lora."},
        "arms": [
            arm("base", units=1830, never_exposed=2, interceptions=2410, attempts=1905, blocks=40, foreign=3, latency_p50_ms=810, latency_p95_ms=2100),
            arm("lora", units=203, interceptions=270, attempts=212, blocks=5, foreign=2, gated=4, latency_p50_ms=640, latency_p95_ms=1720),
        ],
        "metrics": [
            metric("favorite", "Favourite rate", "primary", (0.101, 0.128), (0.027, -0.014, 0.061)),
            metric("regeneration", "Regeneration rate", "secondary", (0.21, 0.19), (-0.02, -0.09, 0.05), note="weak: children press it for fun"),
            metric("safety_block", "Safety blocks", "guardrail", (0.021, 0.024), (0.003, -0.021, 0.029)),
            metric("latency", "Slower than 3 s", "guardrail", (0.03, 0.02), (-0.01, -0.03, 0.02)),
            metric("entropy", "Entropy of the answers", "guardrail", (7.91, None), None, kind="bits", note="12 of 100 sketches in lora"),
        ],
        "guardrails": [
            guardrail("safety_block", "Safety blocks", "ok", "2.1 % of base and 2.4 % of lora were blocked. A rise is not proved.",
                      base=0.021, lora=0.024, difference=0.003, lower=-0.021, limit=0.05, attempts=212),
            guardrail("latency", "Latency", "ok", "2.0 % of lora's answers took longer than 3 s, 3.0 % of base's.", lora=0.02, base=0.03),
            guardrail("error", "Errors", "watch", "3 errors in lora, 1 in base: a rise is likely and not yet proved.", lora=0.011, base=0.0004),
            guardrail("entropy", "Mode collapse", "unknown", "12 of the 100 sketches that it needs. This holds the ramp.", sketches=12, needed=100),
        ],
        "srm": {"state": "ok", "words": "Both arms get the shares that the plan gives them.", "e_value": 0.41, "observed": {}, "expected": {}},
        "contamination": {"state": "ok", "words": "5 of 2,680 answers came from another model than the arm's.", "share": 0.0019, "foreign": 5,
                          "interceptions": 2680, "wiki": 2},
        "outputs": [
            {"arm": "base", "config": "loom", "outputs": 90, "entropy": 7.91, "distinct_pairs": 0.83, "near_duplicates": 0.011},
            {"arm": "lora", "config": "loom", "outputs": 12, "entropy": None, "distinct_pairs": None, "near_duplicates": 0.0},
        ],
        "ramp": {"step": 1, "steps": 3, "rules": [
            {"name": "min_units", "met": False, "words": "203 of 500 units in lora"},
            {"name": "min_hours", "met": True, "words": "27 of 24 hours"},
            {"name": "guardrails", "met": False, "words": "mode collapse could not be computed"},
        ]},
    }  # fmt: skip
    report["looks"] = [look(place, 0.027) for place in range(1, 61)]
    report["decisions"] = [
        decision(27, "hold", "Held: mode collapse could not be computed in lora.", statistics={"sketches": 12}),
        decision(2, "ramp", "Step 2 of 3: lora gets 10.0 %. All rules of step 1 were met.", created_at=at(3)),
        *report["decisions"],
    ]
    return report


def arm(name: str, **counts: Any) -> dict[str, Any]:
    nothing = {"share": 0.9 if name == "base" else 0.1, "never_exposed": 0, "gated": 0, "errors": 0, "blocks": 0, "wiki": 1}
    nothing |= {"edited_attempts": 0, "edited_blocks": 0, "foreign_attempts": 0}
    return {"name": name, **nothing, "as_treated": 1 - counts["foreign"] / counts["interceptions"], **counts}


def metric(
    name: str,
    label: str,
    role: str,
    values: tuple[float | None, float | None],
    ends: tuple[float, float, float] | None,
    **more: Any,
) -> dict[str, Any]:
    arms = {"base": {"n": 1830, "value": values[0]}, "lora": {"n": 203, "value": values[1]}}
    differences = (
        [{"arm": "lora", "n": 2033, "alpha": 0.05} | dict(zip(("estimate", "lower", "upper"), ends, strict=True))]
        if ends
        else []
    )
    return {
        "name": name,
        "label": label,
        "role": role,
        "kind": "share",
        "note": None,
        "arms": arms,
        "differences": differences,
    } | more


def guardrail(name: str, label: str, state: str, said: str, **numbers: Any) -> dict[str, Any]:
    return {"name": name, "label": label, "arm": "lora", "state": state, "forced": False, "words": said, "numbers": numbers}


def look(place: int, effect: float, *, of: int = 60) -> dict[str, Any]:
    """The place-th of `of` looks at a difference that wanders to `effect` while its interval closes."""
    half = 0.55 / place**0.68
    estimate = effect + 0.06 / place * (-1) ** place + 0.01 * ((place * 7) % 5 - 2) / place**0.4
    ends = [estimate, max(-1, estimate - half), min(1, estimate + half)]
    block = [effect / 9, max(-1, effect / 9 - half / 2), min(1, effect / 9 + half / 2)]
    return {"at": at(place / 2), "units": round(2033 * place / of), "step": 0 if place < 12 else 1,
            "differences": {"favorite": {"lora": ends}, "safety_block": {"lora": block}}}  # fmt: skip


def breached() -> Report:
    """The moment in which the guard proves a regression: the rows are written, the probe has not come back."""
    report = running()
    look_ = report["look"]
    worse = "2.0 % of base and 12.3 % of lora were blocked: a rise of 10.3 points, proved at α = 0.01."
    look_["guardrails"][0] |= {"state": "breach", "words": worse}
    look_["guardrails"][0]["numbers"] |= {
        "arm": 0.123,
        "difference": 0.103,
        "lower": 0.012,
        "latest_day_base": 0.02,
        "latest_day_arm": 0.31,
    }
    look_["verdict"] = {"decision": "rollback", "reason": worse}
    look_["contamination"] |= {
        "state": "warning",
        "words": "4.1 % of the answers came from another model than the arm's.",
        "share": 0.041,
    }
    report["looks"] = [look(place, -0.02) for place in range(1, 61)]
    report["experiment"] |= {"status": "rolled_back", "ended_at": at(30), "cooldown_until": at(30.5)}
    report["experiment"]["arms"] = [arm_ | {"weight": float(arm_["name"] == "base")} for arm_ in report["experiment"]["arms"]]
    pending = {"state": "pending", "words": "the serving route is being asked", "at": None}
    proof = {"statistic": "safety_block", "difference": 0.103, "lower": 0.012, "alpha": 0.01, "attempts": 212}
    report["decisions"].insert(0, decision(4, "rollback", worse, statistics=proof, probe=pending, created_at=at(30)))
    return report


def rolled_back(probe: str = "passed") -> Report:
    report = breached()
    said = {
        "passed": "the serving route answered with base",
        "failed": "the serving route still answers with adapter:workshop@3",
    }
    report["decisions"][0]["probe"] = {"state": probe, "words": said[probe], "at": at(30.001)}
    return report


def three_arms() -> Report:
    report = running()
    third = ARMS[1] | {"name": "prompt", "adapter": "adapter:prompt@1", "alias": None, "model": None}
    report["experiment"]["arms"] = [*ARMS, third]
    for metric_ in report["look"]["metrics"]:
        metric_["arms"]["prompt"] = {"n": 199, "value": 0.07}
        if metric_["differences"]:
            metric_["differences"].append(
                {"arm": "prompt", "n": 2029, "estimate": -0.03, "lower": -0.07, "upper": 0.011, "alpha": 0.025}
            )
    for place, look_ in enumerate(report["looks"], 1):
        look_["differences"]["favorite"]["prompt"] = look(place, -0.06)["differences"]["favorite"]["lora"]
    return report


def hostile() -> Report:
    """Markup wherever a caller's or a server's words may stand."""
    evil = "<script>window.broken = 1</script><img src=x onerror='window.broken = 1'>"

    def spoilt(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: spoilt(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [spoilt(inner, name) for inner in value]
        named = name in (
            "reason",
            "words",
            "label",
            "note",
            "actor",
            "created_by",
            "adapter",
            "alias",
            "model",
            "configs",
            "held_reason",
        )
        return evil + value if named and isinstance(value, str) else value

    report: Report = spoilt(rolled_back("failed"))
    report["experiment"] |= {"name": evil, "supersedes": f"javascript:{evil}"}
    return report
