"""From an adapter down to the runs that were recorded, in one query."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from goldsmith import lineage
from goldsmith.db import Connection
from goldsmith.errors import InvalidInput, NotFound, ReferenceNotUsable
from goldsmith.lineage import Node
from goldsmith.storage import Storage
from tests.workshop import Workshop


@pytest.fixture
def workshop(conn: Connection, tmp_path: Path, job_factory: Callable[..., UUID]) -> Workshop:
    return Workshop(conn, Storage(tmp_path), job_factory)


def refs(node: Node) -> Any:
    return {node.ref: [refs(one) for one in node.made_from]}


def test_an_adapter_is_followed_to_its_runs_and_dollars(workshop: Workshop) -> None:
    workshop.record("d1", "a red fox", "a blue boat")
    workshop.record("d2", "a green tower")
    workshop.make_corpus()
    workshop.make_gold(usd=0.25)
    workshop.train(alias="champion")

    found = lineage.of(workshop.conn, "adapter:prose@champion")

    imported = f"job:{workshop.import_id}"
    assert refs(found.root) == {"adapter:prose@1": [{"dataset:gold@1": [{"dataset:corpus@1": [{imported: []}]}]}]}
    gold = found.root.made_from[0]
    assert (gold.job, gold.job_kind) == (f"job:{workshop.gold_id}", "gold")
    assert [(one.provider, one.model, one.calls, one.usd) for one in gold.teacher] == [("anthropic", "claude", 3, 0.75)]
    leaf = gold.made_from[0].made_from[0]
    assert leaf.runs is not None
    assert (leaf.kind, leaf.job_kind, leaf.runs.runs, leaf.runs.devices, leaf.runs.ids) == ("job", "import", 3, 2, None)
    assert (found.calls, found.usd, found.runs, found.erased) == (3, 0.75, 3, [])
    assert found.datasets == ["dataset:gold@1", "dataset:corpus@1"]


def test_the_runs_are_named_when_asked_for(workshop: Workshop) -> None:
    workshop.record("d1", "a red fox", "a blue boat")
    workshop.make_corpus()
    found = lineage.of(workshop.conn, "dataset:corpus@latest", ids=True)
    leaf = found.root.made_from[0]
    assert leaf.runs is not None
    assert leaf.runs.ids == ["run-1", "run-2"]


def test_what_two_parents_share_is_counted_once(workshop: Workshop) -> None:
    workshop.record("d1", "a red fox")
    workshop.make_corpus()
    workshop.make_gold(usd=1.0)
    workshop.train()
    workshop.train()
    parents = ("adapter:prose@1", "adapter:prose@2")
    workshop.train(name="both", parents=parents)

    found = lineage.of(workshop.conn, "adapter:both@1")

    assert [one.ref for one in found.root.made_from] == list(parents)
    assert [one.made_from[0].ref for one in found.root.made_from] == ["dataset:gold@1"] * 2
    assert (found.calls, found.usd, found.runs) == (1, 1.0, 1)


def test_runs_that_a_later_import_took_over_count_there_too(workshop: Workshop) -> None:
    workshop.record("d1", "a red fox")
    later = workshop.job("import")
    workshop.conn.execute("INSERT INTO run_imports (job_id, run_id) SELECT %s, id FROM runs", (later,))
    workshop.import_id = later
    workshop.make_corpus()
    assert lineage.of(workshop.conn, "dataset:corpus@1").runs == 1


@pytest.mark.parametrize(
    ("ref", "error", "says"),
    [
        ("adapter:verse@1", ReferenceNotUsable, "known adapters"),
        ("dataset:silver@1", NotFound, "there is no dataset yet"),
        ("job:1", InvalidInput, "has no lineage"),
    ],
)
def test_nothing_has_no_lineage(conn: Connection, ref: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        lineage.of(conn, ref)
