from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from goldsmith.ab_analysis import Data
from goldsmith.errors import NotFound
from goldsmith.kinds.ab_report.run import run
from goldsmith.kinds.ab_report.schema import AbReportConfig, AbReportResult
from tests.ab_data import ID, data, mixed
from tests.fakes import FakeContext


def units(
    *,
    base: int,
    lora: int,
    favorites: tuple[float, float] = (0.2, 0.2),
    blocks: tuple[float, float] = (0.0, 0.0),
    attempts: int = 1,
) -> list[dict[str, Any]]:
    return mixed({"base": base, "lora": lora}, attempts=attempts, favorites=favorites, blocks=blocks)


def report(tmp_path: Path, of: Data, **config: Any) -> tuple[AbReportResult, FakeContext]:
    ctx = FakeContext(tmp_path, kind="ab_report")
    ctx.experiments[str(ID)] = of
    return asyncio.run(run(AbReportConfig(experiment=str(ID), **config), ctx)), ctx


def test_without_an_event_it_goes_on_and_says_so(tmp_path: Path):
    result, ctx = report(tmp_path, data([]))
    assert (result.decision, result.reason) == ("continue", "There are no events yet.")
    assert result.favorite_difference is None
    assert ctx.decisions[0][1].decision == "continue"
    assert "There are no events yet." in ctx.artifact(result.report).read_text()


def test_few_units_decide_nothing(tmp_path: Path):
    result, _ = report(tmp_path, data(units(base=400, lora=45, favorites=(0.0, 1.0))))
    assert result.decision == "continue"
    assert "lora has 45 exposed units of the 50 needed" in result.reason


def test_no_difference_goes_on(tmp_path: Path):
    result, _ = report(tmp_path, data(units(base=1800, lora=200)))
    assert result.decision == "continue"
    assert "No difference is proved yet" in result.reason


def test_better_and_safe_is_promoted(tmp_path: Path):
    result, _ = report(tmp_path, data(units(base=5400, lora=600, favorites=(0.15, 0.4), blocks=(0.02, 0.02))))
    assert result.decision == "promote"
    assert "units that kept a favourite: 40.0% in lora, 15.0% in base" in result.reason
    assert result.favorite_difference is not None
    assert result.favorite_difference[1] > 0


def test_better_but_not_shown_to_be_safe_goes_on(tmp_path: Path):
    result, _ = report(tmp_path, data(units(base=720, lora=80, favorites=(0.15, 0.6), blocks=(0.02, 0.02))))
    assert result.decision == "continue"
    assert "its safety is not shown yet" in result.reason


def test_better_without_attempts_goes_on(tmp_path: Path):
    """What could not be computed never counts as zero."""
    result, _ = report(tmp_path, data(units(base=5400, lora=600, favorites=(0.15, 0.4), attempts=0)))
    assert result.decision == "continue"
    assert "its safety is not known: base has 0 generation attempts of the 50 needed" in result.reason
    assert result.safety_block_rates == {"base": None, "lora": None}


def test_worse_keeps_base(tmp_path: Path):
    result, _ = report(tmp_path, data(units(base=2700, lora=300, favorites=(0.4, 0.1))))
    assert result.decision == "keep_base"
    assert "lora is worse than base" in result.reason


def test_more_blocks_are_rolled_back_even_when_favourites_are_better(tmp_path: Path):
    result, _ = report(tmp_path, data(units(base=1800, lora=200, favorites=(0.1, 0.6), blocks=(0.02, 0.2))))
    assert result.decision == "rollback"
    assert "20.0% of lora's generation attempts were blocked, and 2.0% of base's: 18.0 points more" in result.reason


def test_a_proved_rise_within_the_margin_is_not_rolled_back(tmp_path: Path):
    result, ctx = report(tmp_path, data(units(base=18_000, lora=18_000, blocks=(0.02, 0.06)), lora_weight=0.5))
    safety = next(one for one in ctx.decisions[0][1].statistics["guardrails"] if one["name"] == "safety_block")
    assert safety["numbers"]["lower"] > 0
    assert safety["state"] == "watch"
    assert result.decision == "continue"


def test_a_rise_in_a_few_attempts_is_not_rolled_back(tmp_path: Path):
    result, _ = report(tmp_path, data(units(base=360, lora=40, blocks=(0.0, 0.5))))
    assert result.decision == "continue"


def test_many_attempts_of_one_device_are_one_observation(tmp_path: Path):
    """Ten devices with 40 blocked attempts each are no more proof than ten devices with one."""
    of = [
        unit | {"attempts": 40, "blocks": 40} if unit["blocks"] else unit
        for unit in units(base=1800, lora=200, blocks=(0.02, 0.05))
    ]
    result, _ = report(tmp_path, data(of))
    rates = result.safety_block_rates
    assert rates["lora"] is not None
    assert rates["base"] is not None
    assert rates["lora"] - rates["base"] > 0.05
    assert result.decision == "continue"


def test_missing_units_make_it_invalid(tmp_path: Path):
    result, _ = report(tmp_path, data(units(base=2000, lora=60, favorites=(0.1, 0.9))))
    assert result.decision == "invalid"
    assert "lora has 60 of 2,060 units, where 206 are expected" in result.reason


def test_answers_of_other_models_warn_and_then_make_it_invalid(tmp_path: Path):
    def answered(*foreign: int) -> Data:
        rows = units(base=900, lora=100)
        for arm, many in zip(("base", "lora"), foreign, strict=True):
            for row in [row for row in rows if row["arm"] == arm][:many]:
                row |= {"foreign_": 1, "foreign_attempts": 1, "attempts": 0}
        return data(rows)

    warned, ctx = report(tmp_path, answered(0, 10))
    assert warned.decision == "continue"
    assert warned.contamination == pytest.approx(0.01)
    text = ctx.artifact(warned.report).read_text()
    assert "Another model than the arm's answered 10.0% of the interceptions of lora, where 2% are tolerated" in text
    assert "90.0%" in text, "the share that the arm's own model answered"
    assert "10 attempts of lora are left out: another model answered" in text
    assert report(tmp_path, answered(0, 30))[0].decision == "invalid"
    assert "Another model than the arm's answered 0.5%" in ctx.artifact(report(tmp_path, answered(5, 0))[0].report).read_text()


def test_units_that_were_never_exposed_are_not_judged(tmp_path: Path):
    ghosts = [{"arm": "lora", "exposed": False, "favorites": 1, "attempts": 5, "blocks": 5}] * 500
    result, ctx = report(tmp_path, data([*units(base=900, lora=100), *ghosts]))
    assert result.units == {"base": 900, "lora": 100}
    assert result.decision == "continue"
    assert "| units never exposed | 0 | 500 |" in ctx.artifact(result.report).read_text()


def test_a_rehearsal_adapter_is_labelled_in_every_output(tmp_path: Path):
    of = data(units(base=5400, lora=600, favorites=(0.15, 0.4), blocks=(0.02, 0.02)), rehearsal=True)
    result, ctx = report(tmp_path, of)
    assert result.decision == "promote"
    assert result.rehearsal
    assert "REHEARSAL" in result.reason
    assert "REHEARSAL" in ctx.artifact(result.report).read_text()
    assert json.loads(ctx.artifact(f"{ctx.ref}/report.json").read_text())["rehearsal"] is True


def test_the_report_shows_plan_and_numbers(tmp_path: Path):
    result, ctx = report(tmp_path, data(units(base=900, lora=100, blocks=(0.02, 0.04)), events=5000))
    body = json.loads(ctx.artifact(f"{ctx.ref}/report.json").read_text())
    assert body["plan"]["name"] == "spring"
    assert (
        body["statistics"]["arms"][1] | {"name": "lora", "units": 100, "attempts": 100, "blocks": 4}
        == body["statistics"]["arms"][1]
    )
    assert body["decision"] == result.decision == ctx.decisions[0][1].decision
    assert ctx.decisions[0][0] == str(ID)
    assert "4 of 100 (4.0%)" in ctx.artifact(result.report).read_text()


def test_a_stricter_alpha_widens_the_interval(tmp_path: Path):
    of = data(units(base=900, lora=100))
    usual, strict = (report(tmp_path, of, **alpha)[0].favorite_difference for alpha in ({}, {"alpha": 0.001}))
    assert usual is not None
    assert strict is not None
    assert strict[1] < usual[1] < usual[2] < strict[2]


def test_an_unknown_experiment_is_an_error(tmp_path: Path):
    with pytest.raises(NotFound):
        asyncio.run(run(AbReportConfig(experiment=str(ID)), FakeContext(tmp_path)))
