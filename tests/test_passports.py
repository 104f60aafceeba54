"""The passport: complete, signed, checked without a server, and none for what was changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb
from typer.testing import CliRunner, Result

from goldsmith import ab_rollback, adapters, datasets, experiments, lineage, passports, signing
from goldsmith.ab import Decision, NewExperiment
from goldsmith.cli.app import app
from goldsmith.db import Connection
from goldsmith.errors import ReferenceNotUsable
from goldsmith.settings import get_settings
from goldsmith.signing import SignatureInvalid
from goldsmith.storage import Storage
from tests.workshop import SEARCHED, Workshop


@pytest.fixture
def workshop(conn: Connection, tmp_path: Path, job_factory: Callable[..., UUID]) -> Workshop:
    made = Workshop(conn, Storage(tmp_path / "state"), job_factory)
    made.record("d1", "a red fox", "a blue boat")
    made.make_corpus()
    made.make_gold(usd=0.25)
    made.train(alias="champion")
    return made


def issued(workshop: Workshop) -> dict[str, Any]:
    return passports.issue(workshop.conn, workshop.storage, "adapter:prose@champion")


def test_a_passport_says_all_that_is_known(workshop: Workshop) -> None:
    result = {"adapter": "adapter:prose@1", "dataset": "dataset:gold@1", "verdict": "wins", "valid": True, "why": "+20 %"}
    workshop.job("evaluate", status="completed", result=Jsonb(result))
    plan = {
        "name": "spring",
        "arms": [{"name": "base", "weight": 0.5}, {"name": "lora", "weight": 0.5, "adapter": "adapter:prose@1"}],
    }
    experiment = experiments.create(workshop.conn, NewExperiment.model_validate(plan))
    ab_rollback.record_report(
        workshop.conn, workshop.job("ab_report"), 1, experiment.id, Decision(decision="promote", reason="p = 0.01")
    )

    passport = issued(workshop)["passport"]

    adapter = passport["adapter"]
    version = adapters.get(workshop.conn, workshop.storage, "adapter:prose@1")
    assert adapter["files"] == version.files
    assert (adapter["base_sha256"], adapter["tokenizer_sha256"], adapter["template_sha256"]) == ("b" * 64, "a" * 64, "c" * 64)
    assert (adapter["method"]["seed"], adapter["method"]["learning_rate"]) == (42, 2e-4)
    assert adapter["metrics"] == {"heldout_loss_after": 1.25}
    assert passport["versions"] == {"peft": "0.21.2"}
    gold, corpus = passport["datasets"]
    rows = datasets.examples_of(workshop.conn, "dataset:gold@1")
    hashes = {
        split: [hashlib.sha256(datasets.canonical(row).encode()).hexdigest() for row in rows if row.split == split]
        for split in ("train", "heldout")
    }
    assert gold["rows"] == hashes
    assert "rows" not in corpus
    assert (corpus["personal_data"], corpus["leakage"]) == ({"personal data: email": 2, "personal_data": 1}, {"exact": 0})
    assert gold["personal_data"] is None  # a gold job searches nothing; the training that read its rows did
    assert passport["trained_on"] == [{"adapter": "adapter:prose@1", "dataset": "dataset:gold@1", **SEARCHED}]
    assert all("not to be redistributed" in one["licence"] for one in (gold, corpus))
    assert (passport["teacher"]["usd"], passport["teacher"]["calls"]) == (0.5, 2)
    assert passport["teacher"]["by_job"][0]["model"] == "claude"
    assert [(one["kind"], one["verdict"]) for one in passport["verdicts"]] == [
        ("evaluation", "wins"),
        ("experiment", "promote"),
    ]
    assert passport["erased"] == {"rows": 0, "at": None}


def test_the_role_of_a_chosen_epoch_is_told_everywhere_and_the_gate_is_a_verdict(workshop: Workshop) -> None:
    trained = workshop.train("lamps", role="expert")
    chosen = workshop.train("lamps", role="expert", parents=[trained.ref])
    result = {
        "adapter": chosen.ref,
        "dataset": "dataset:gold@1",
        "passed": True,
        "gate": "halves",
        "why": "epoch 2 won 9 of 10",
    }
    workshop.job("verify", status="completed", result=Jsonb(result))

    passport = passports.issue(workshop.conn, workshop.storage, chosen.ref)["passport"]

    assert (passport["adapter"]["method"]["role"], passport["adapter"]["parents"]) == ("expert", [trained.ref])
    assert [(one["kind"], one["verdict"], one["valid"]) for one in passport["verdicts"]] == [("gate", "passed", True)]
    assert "rows" in passport["datasets"][0]  # what it was trained on, though an epoch lies between
    found = adapters.list_adapters(workshop.conn, workshop.storage, "lamps")
    assert [(one.version, one.role, one.model_dump(mode="json")["role"]) for one in found] == [
        (2, "expert", "expert"),
        (1, "expert", "expert"),
    ]
    root = lineage.of(workshop.conn, chosen.ref).root
    assert (root.about["role"], root.made_from[0].ref) == ("expert", trained.ref)
    assert lineage.of(workshop.conn, "adapter:prose@1").root.about["role"] is None


def test_a_merge_says_what_each_of_its_trainings_searched(workshop: Workshop) -> None:
    workshop.train()
    earlier = adapters.get(workshop.conn, workshop.storage, "adapter:prose@2").folder / "train.json"
    earlier.write_text("{}")  # not what was registered: nothing is told of it
    workshop.train(name="both", parents=("adapter:prose@1", "adapter:prose@2"))
    told = passports.issue(workshop.conn, workshop.storage, "adapter:both@1")["passport"]["trained_on"]
    assert [(one["adapter"], one["at"] is None, one["leakage"] is None) for one in told] == [
        ("adapter:prose@1", False, False),
        ("adapter:prose@2", True, True),
    ]


def test_any_change_of_a_passport_is_seen(workshop: Workshop) -> None:
    signed = json.loads(json.dumps(issued(workshop)))
    public = signing.public_key(workshop.storage)
    assert passports.check(signed, public)["adapter"]["name"] == "prose"

    def leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        if isinstance(node, dict):
            return [found for key, one in node.items() for found in leaves(one, (*path, key))]
        if isinstance(node, list):
            return [found for key, one in enumerate(node) for found in leaves(one, (*path, key))]
        return [path]

    paths = leaves(signed["passport"])
    assert len(paths) > 50
    for path in paths:
        changed = json.loads(json.dumps(signed))
        node = changed["passport"]
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = f"{node[path[-1]]}!"
        with pytest.raises(SignatureInvalid):
            passports.check(changed, public)


def test_there_is_no_passport_for_changed_files(workshop: Workshop) -> None:
    version = adapters.get(workshop.conn, workshop.storage, "adapter:prose@1")
    (version.folder / "adapter_config.json").write_text('{"r": 9}')
    with pytest.raises(ReferenceNotUsable, match=r"its file adapter_config\.json changed"):
        issued(workshop)


# -- the command, without a server


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GOLDSMITH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("GOLDSMITH_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("GOLDSMITH_URL", "http://127.0.0.1:1")
    get_settings.cache_clear()
    return lambda *arguments: CliRunner().invoke(app, ["passport", "verify", *map(str, arguments)], env={"COLUMNS": "200"})


def test_a_file_is_verified_offline_with_the_own_key_or_a_given_one(
    workshop: Workshop, verify: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "passport.json"
    file.write_text(json.dumps(issued(workshop), indent=4))
    public = signing.public_key(workshop.storage)
    folder = adapters.get(workshop.conn, workshop.storage, "adapter:prose@1").folder

    found = verify(file, "--json")
    assert (found.exit_code, json.loads(found.output)["valid"]) == (0, True)
    assert verify(file, "--key", public, "--folder", folder).exit_code == 0
    assert verify(file, "--key", signing.public_key(Storage(tmp_path / "stranger"))).exit_code == 1

    weights = folder / "adapter_config.json"
    weights.write_bytes(weights.read_bytes()[:-1] + b"]")
    assert verify(file, "--folder", folder).exit_code == 2

    monkeypatch.setenv("GOLDSMITH_STATE_DIR", str(tmp_path / "elsewhere"))
    get_settings.cache_clear()
    assert verify(file).exit_code == 2  # whose signature should it be?
    assert not (tmp_path / "elsewhere").exists()
    assert verify(file, "--key", public).exit_code == 0


def test_a_forged_or_broken_file_is_refused(workshop: Workshop, verify: Callable[..., Result], tmp_path: Path) -> None:
    file = tmp_path / "passport.json"
    signed = issued(workshop)
    text = json.dumps(signed)

    file.write_text(text.replace('"heldout_loss_after": 1.25', '"heldout_loss_after": 0.25'))
    assert "changed after it was signed" in verify(file).output
    file.write_text(json.dumps(signing.sign(Storage(tmp_path / "stranger"), "passport", signed["passport"])))
    assert "signed with another key" in verify(file).output
    file.write_text(text.replace('"form": ', '"form": "old", "form": ', 1))
    assert verify(file).exit_code == 2
    file.write_text("{")
    assert verify(file).exit_code == 2
