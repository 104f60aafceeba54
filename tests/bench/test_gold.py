"""The benchmark of teachers, small: that it measures, not what."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench.gold import ASKERS, Bench, kill_table, rate_table
from bench.servers import Servers


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    servers = Servers([])
    try:
        servers.start(finished=0)
        yield Bench(servers, ASKERS, questions=20)
    finally:
        servers.stop()


def test_every_asker_gets_its_answers(bench: Bench) -> None:
    samples = {name: [bench.rate(name)] for name in ("Goldsmith", "gather, 10 at once")}
    assert {sample.lost for [sample] in samples.values()} == {0}
    assert rate_table(samples).row_count == 2
    assert kill_table({"Goldsmith": (0, 0)}, 20).row_count == 1
