"""The reports that the browser is shown are such as the API gives."""

from __future__ import annotations

import pytest

from goldsmith.ab_report import Report
from tests.web import reports


@pytest.mark.parametrize("make", [reports.empty, reports.running, reports.breached, reports.rolled_back, reports.three_arms])
def test_a_report_of_the_pages_tests_has_the_apis_shape(make: reports.Make) -> None:
    made = make()
    read = Report.model_validate(made).model_dump(mode="json")
    assert made.keys() == read.keys()
    assert made["experiment"].keys() <= read["experiment"].keys()
    for part in made["look"] or {}:
        assert part in read["look"], part
