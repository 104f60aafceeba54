"""The adapters that the ablation compares UNO with: what is submitted for them, and what is said where there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from goldsmith.errors import Requeue
from goldsmith.kinds.uno.schema import LEFT_OUT, UnoResult
from goldsmith.rules import Cluster
from tests.kinds.uno.test_uno import Play, cluster, config, learned

SIZE = 100
WON = {"passed": True, "adapter": "adapter:museum-c0-expert@1", "win_rate": 0.9, "interval": [0.6, 1.0]}


def grouped(cluster_id: str, config_id: str | None = None) -> dict[str, Any]:
    return learned(0) | {"cluster_id": cluster_id, "config_id": config_id, "pairs": f"dataset:museum-{cluster_id}-pairs@1"}


def paired(tmp_path: Path, configs: dict[str, int], **more: Any) -> Play:
    """A run whose pairs are made: an expert's for c0, none for c1."""
    play = Play(tmp_path, config(train={"num_train_epochs": 2}, gap={"method": "embedding"}, **more))
    play.look()
    members = [f"s{number}" for number in range(SIZE)]
    play.ctx.saved_clusters[f"job:{play.id('cluster')}"] = [Cluster(0, SIZE, "active", members, {"configs": configs}, "c0")]
    play.to_the_plan(cluster(0, "primary"), cluster(1, "reflective", mu=0.8))
    play.look()
    play.end("pairs", {"clusters": [learned(0), learned(1, pairs=False)]}, cost=1.0)
    play.look()
    return play


def finish(play: Play) -> UnoResult:
    play.end("expert-c0", {})
    play.end("verify-c0", WON)
    play.end("critic-c1", {"adapter": "adapter:museum-c1-critic@1"})
    play.look()
    play.route(c0="primary", c1="reflective")
    play.look()
    play.end("ablation", {})
    result = play.look()
    assert isinstance(result, UnoResult)
    return result


def test_an_adapter_of_all_sessions_and_one_of_each_config_are_trained_and_compared(tmp_path: Path) -> None:
    play = paired(tmp_path, {"loom": 60, "kiln": 30, "unknown": 10}, ablation="all")
    assert play.keys[5:] == ["pairs-unclustered"]  # the configs' pairs wait for its answers and grades
    body = play.ctx.submitted["pairs-unclustered"]
    assert (body["group_by"], body["name"], body["clusters"]) == ("all", "museum", f"job:{play.id('cluster')}")
    assert "gap" not in body
    assert body["budget_usd"] == pytest.approx(0.2 * 8)  # a fifth of what the rules and the pairs left
    play.end("pairs-unclustered", {"clusters": [grouped("all")], "stopped_by": None}, cost=1.0)
    play.look()
    by_config = play.ctx.submitted["pairs-by_config"]
    assert by_config["group_by"] == "config"
    assert by_config["budget_usd"] == pytest.approx(0.6)
    configs = [grouped("config-loom", "loom"), grouped("config-kiln", "kiln") | {"pairs": None, "refused": "too few"}]
    play.end("pairs-by_config", {"clusters": configs, "stopped_by": None})
    play.look()
    assert play.keys[7:] == ["expert-c0", "verify-c0", "critic-c1", "unclustered-all", "by_config-config-loom"]
    training = play.ctx.submitted["unclustered-all"]
    says = {"dataset": "dataset:museum-all-pairs@1", "name": "museum-all", "objective": "dpo_nll", "num_train_epochs": 2}
    assert training | says == training
    assert play.ctx.submitted["verify-c0"]["budget_usd"] == pytest.approx(0.8 * 7)

    play.end("unclustered-all", {"adapter": "adapter:museum-all@1"})
    play.end("by_config-config-loom", {"adapter": "adapter:museum-config-loom@1"})
    result = finish(play)
    ablation = play.ctx.submitted["ablation"]
    assert ablation["unclustered"] == "adapter:museum-all@1"
    assert ablation["by_config"] == {"loom": "adapter:museum-config-loom@1"}
    assert "absent" not in ablation
    assert len(result.trainings) == 4
    assert result.spent_usd == 3.0


def test_the_plan_has_what_they_cost(tmp_path: Path) -> None:
    play = paired(tmp_path, {"loom": 60, "kiln": 9, "unknown": 31}, ablation="all")
    plan = json.loads(play.ctx.artifact(f"{play.ctx.ref}/plan.json").read_text())
    every, configs = plan["compared"]
    assert (every["variant"], every["sessions"], every["pairs_at_most"], every["trainings"]) == ("unclustered", 200, 100, 1)
    assert (configs["variant"], configs["sessions"], configs["pairs_at_most"], configs["trainings"]) == ("by_config", 60, 0, 1)
    assert every["gpu_hours"] == pytest.approx(2 * 120 * 160 * 2 / 1000 / 3600)
    # both clusters' sessions, 2 contexts x 3 samples each
    assert plan["questions"]["revised_answers"] == 200 * 6
    assert (plan["pairs_at_most"], plan["trainings_at_most"]) == (200, 5)


def test_where_the_log_has_no_configs_the_row_says_so_and_a_failed_training_fails_nothing_else(tmp_path: Path) -> None:
    play = paired(tmp_path, {"unknown": 100}, ablation={"limit": 20})
    play.end("pairs-unclustered", {"clusters": [grouped("all")], "stopped_by": None})
    play.look()
    assert "pairs-by_config" not in play.keys
    play.end("unclustered-all", status="failed")
    finish(play)
    ablation = play.ctx.submitted["ablation"]
    assert not {"unclustered", "by_config"} & ablation.keys()
    assert ablation["limit"] == 20
    assert ablation["absent"]["by_config"] == "no session of the log has a config"
    assert ablation["absent"]["unclustered"] == f"job:{play.id('unclustered-all')} failed: no encoder here"


def test_pairs_that_could_not_be_made_or_were_not_all_made_are_no_comparison(tmp_path: Path) -> None:
    play = paired(tmp_path, {"loom": 100}, ablation="all")
    play.end("pairs-unclustered", {"clusters": [grouped("all")], "stopped_by": "budget"})
    play.look()
    play.end("pairs-by_config", status="cancelled")
    play.look()
    assert play.keys[7:] == ["expert-c0", "verify-c0", "critic-c1"]
    finish(play)
    absent = play.ctx.submitted["ablation"]["absent"]
    assert "ended before all its pairs were made" in absent["unclustered"]
    assert absent["by_config"] == f"job:{play.id('pairs-by_config')} was cancelled"


@pytest.mark.parametrize(
    ("ablation", "absent"),
    [
        ("cheap", {"unclustered": LEFT_OUT, "by_config": LEFT_OUT}),
        ({"variants": ["base", "full"]}, None),
        ({"unclustered": "adapter:mine@1", "absent": {"by_config": "no time"}}, {"by_config": "no time"}),
    ],
)
def test_they_are_left_out_where_that_is_said(tmp_path: Path, ablation: Any, absent: dict[str, str] | None) -> None:
    play = paired(tmp_path, {"loom": 100}, ablation=ablation)
    assert play.keys[5:] == ["expert-c0", "verify-c0", "critic-c1"]
    assert not isinstance(play.look(), UnoResult)
    finish(play)
    assert play.ctx.submitted["ablation"].get("absent") == absent


def test_they_stop_with_the_others_when_one_that_is_needed_fails(tmp_path: Path) -> None:
    play = paired(tmp_path, {}, ablation="all")
    play.end("pairs-unclustered", {"clusters": [grouped("all")], "stopped_by": None})
    assert isinstance(play.look(), Requeue)
    play.end("expert-c0", status="failed")
    with pytest.raises(Exception, match="expert-c0"):
        play.look()
    assert play.ctx.child(play.id("unclustered-all")).status == "cancelled"
