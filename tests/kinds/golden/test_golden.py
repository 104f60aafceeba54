"""A golden set is checked when it comes, frozen once, and asked with the prompts that the devserver would ask with."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from goldsmith import golden
from goldsmith.devserver.checkout import Checkout, InterceptionConfig
from goldsmith.errors import InvalidInput
from goldsmith.kinds.golden.run import run
from goldsmith.kinds.golden.schema import GoldenConfig, GoldenResult
from goldsmith.uploads import Upload
from tests.fakes import FakeContext
from tests.tiny import gold

ROWS: list[dict[str, Any]] = [
    {"input": "2 + 2", "expected": "4", "language": "en"},
    {"input": "Capital of France?", "pattern": r"\bParis\b", "group": "capitals"},
    {"input": "A point", "schema": {"type": "object", "required": ["x"]}},
    {"input": "a kite", "rules": {"min_words": 5, "max_words": 60}, "config_id": "oil"},
    {"messages": [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "cat"}], "expected": ["hat", "bat"]},
]
EXPLODES = r"(a|aa)+$"


def uploaded(ctx: FakeContext, rows: list[dict[str, Any]], tmp_path: Path, *, origin: Any = "upload") -> str:
    path = tmp_path / "golden.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    upload = Upload(
        id=uuid4(), kind="golden", name="golden", origin=origin, sha256="", bytes=1, about={}, uri="", created_by=None,
        created_at=datetime.now(UTC),
    )  # fmt: skip
    ctx.uploads[upload.ref] = (upload, path)
    return upload.ref


def frozen(ctx: FakeContext, **config: Any) -> GoldenResult:
    return asyncio.run(run(GoldenConfig(name="exam", **config), ctx))


def contexts(ctx: FakeContext) -> str:
    oil = InterceptionConfig(config_id="oil", name={}, context={"en": "Paint with oil."}, parameters={}, meta={})
    checkout = Checkout(template="{{TASK_INSTRUCTION}}\n{{CONTEXT}}\n{{INPUT_TEXT}}", task="Rewrite it.", configs=[oil])
    return ctx.save_artifact("contexts.json", checkout.model_dump_json().encode())


def test_rows_keep_what_they_expect_and_are_asked_with_the_devservers_prompt(tmp_path: Path) -> None:
    ctx = FakeContext(tmp_path)
    result = frozen(ctx, upload=uploaded(ctx, ROWS, tmp_path), contexts=contexts(ctx))

    assert result.expected == {"expected": 2, "pattern": 1, "schema": 1, "rules": 1}
    assert (result.rows, result.groups, result.by_config) == (5, 5, {"": 4, "oil": 1})
    rows = list(ctx.examples(result.dataset))
    assert {row.split for row in rows} == {"heldout"}
    assert [row.messages[-1].content for row in rows] == [
        "4",
        "Capital of France?",
        "A point",
        "Rewrite it.\nPaint with oil.\na kite",
        "hat",
    ]
    assert rows[3].context_sha256
    assert rows[3].input == "a kite"
    assert rows[1].expect == {"pattern": r"\bParis\b"}
    assert rows[1].group == "capitals"
    assert ctx.dataset(result.dataset).manifest["kind"] == "golden"


def test_the_same_rows_have_the_same_hash_and_others_another(tmp_path: Path) -> None:
    ctx = FakeContext(tmp_path)
    ref = uploaded(ctx, ROWS, tmp_path)
    first, second = frozen(ctx, upload=ref), frozen(ctx, upload=ref)
    assert (first.dataset, second.dataset) == ("dataset:exam@1", "dataset:exam@2")
    assert first.content_sha256 == second.content_sha256
    (tmp_path / "golden.jsonl").write_text(json.dumps(ROWS[0] | {"expected": "5"}))
    third = frozen(ctx, upload=ref)
    assert third.content_sha256 != first.content_sha256
    assert next(ctx.examples(third.dataset)).group == next(ctx.examples(first.dataset)).group


def test_two_expectations_of_one_answer_are_one_group_and_a_repeated_line_is_left_out(tmp_path: Path) -> None:
    ctx = FakeContext(tmp_path)
    rows = [ROWS[0], {"input": "2  +  2", "pattern": "4", "language": "en"}, ROWS[0]]
    result = frozen(ctx, upload=uploaded(ctx, rows, tmp_path))
    assert (result.rows, result.groups, result.duplicates) == (2, 1, 1)


def test_held_out_gold_becomes_a_set_with_its_references(tmp_path: Path) -> None:
    ctx = FakeContext(tmp_path)
    ctx.save_dataset(
        "gold", gold(), manifest={"config": {"min_words": 3, "max_words": 9, "teacher": "x"}}, parents=[], rehearsal=True
    )
    result = frozen(ctx, dataset="dataset:gold@1")
    assert (result.rows, result.expected, result.label) == (3, {"reference": 3}, "REHEARSAL")
    version = ctx.dataset(result.dataset)
    assert version.manifest["config"] == {"min_words": 3, "max_words": 9}
    assert version.parents == ["dataset:gold@1"]


def test_personal_data_is_looked_for_counted_and_kept(tmp_path: Path) -> None:
    rows = [
        *ROWS,
        {"input": "Ich heiße Jonas Weber, wie alt bin ich?", "expected": "9", "language": "de"},
        {"input": "Where does she live?", "expected": ["a house", "mia@example.org"], "language": "en"},
        {"messages": [{"role": "system", "content": "Call 0171 2345678."}, {"role": "user", "content": "whom?"}], "pattern": "x"},
    ]  # fmt: skip
    ctx = FakeContext(tmp_path)
    result = frozen(ctx, upload=uploaded(ctx, rows, tmp_path))
    found = result.personal_data
    assert found is not None
    assert (found.rows, found.by_kind, found.lines) == (3, {"email": 1, "name": 1, "phone": 1}, [6, 7, 8])
    assert ctx.dataset(result.dataset).manifest["personal_data"] == found.model_dump()
    assert result.rows == len(rows)
    made = frozen(ctx, upload=uploaded(ctx, rows, tmp_path, origin="synthetic")).personal_data
    assert made is not None
    assert (made.rows, made.by_kind) == (0, {})


class TestBadInput:
    def test_a_pattern_that_explodes_is_refused_by_its_line(self, tmp_path: Path) -> None:
        ctx = FakeContext(tmp_path)
        rows = [ROWS[0], {"input": "a", "pattern": EXPLODES}]
        with pytest.raises(InvalidInput, match="line 2: pattern: it takes more than") as refused:
            frozen(ctx, upload=uploaded(ctx, rows, tmp_path))
        assert refused.value.errors[0]["line"] == 2
        assert "exam" not in ctx.datasets

    def test_an_unknown_config_names_the_known_ones(self, tmp_path: Path) -> None:
        ctx = FakeContext(tmp_path)
        ref = uploaded(ctx, [ROWS[0] | {"config_id": "loom"}], tmp_path)
        with pytest.raises(InvalidInput, match="line 1: config_id 'loom' is not among oil"):
            frozen(ctx, upload=ref, contexts=contexts(ctx))

    def test_a_dataset_without_held_out_rows_is_refused(self, tmp_path: Path) -> None:
        ctx = FakeContext(tmp_path)
        ctx.save_dataset("gold", gold(heldout=0), manifest={}, parents=[], rehearsal=False)
        with pytest.raises(InvalidInput, match="dataset: dataset:gold@1: it has no heldout rows"):
            frozen(ctx, dataset="dataset:gold@1")


def test_a_pattern_that_is_slow_on_an_answer_says_nothing_about_it() -> None:
    assert golden.found(EXPLODES, "a" * 60 + "!", seconds=0.05) is None
    assert golden.found("b", "abc") is True
    assert golden.found("d", "abc") is False


@pytest.mark.parametrize(
    "pattern",
    [
        "a{100000000}",
        "(?:ab|c){1000000}",
        "(?:" * 14 + "a" + "{2})" * 14,
        "(?:" * 25 + "ab" + ")+?" * 25,
        "(?xi) ( a #)",
        "(?V1)a",
    ],
)
def test_a_pattern_that_would_take_the_memory_is_refused_before_it_is_compiled(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"at most 20,000 are taken|are not taken"):
        golden.compiled(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(\S+\s+){19,300}\S+$",
        r"\d{4}-\d{2}-\d{2}",
        r"(?is)^.{200,5000}$",
        r"[]()+{9}]+[^])]",
        r"(?P<year>\d{4})\(x",
        "(a+|b+)+ c++",
    ],
)
def test_ordinary_repetitions_are_taken(pattern: str) -> None:
    golden.check_pattern(pattern)


def test_a_schema_that_refers_to_itself_without_end_is_refused() -> None:
    doubles = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(40)} | {"d40": {"type": "string"}}
    with pytest.raises(ValueError, match="refers to parts of itself 81 times; at most 40 are taken"):
        golden.Expectation.model_validate({"schema": {"$defs": doubles, "$ref": "#/$defs/d0"}})


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\ud800": 1}', "[" * 600 + "]" * 600])
def test_json_that_no_schema_can_be_held_against_is_a_wrong_answer(text: str) -> None:
    found = golden.why_not({"type": "object", "required": ["x"]}, text)
    assert found is not None
    assert found.startswith("not JSON that can be held against the schema")


@pytest.mark.parametrize(
    ("text", "says"),
    [('{"x": 1}', None), ('{"y": 1}', "is a required property"), ("x = 1", "not JSON"), ('{"x": NaN}', "NaN is no JSON")],
)
def test_an_answer_is_held_against_its_schema(text: str, says: str | None) -> None:
    found = golden.why_not({"type": "object", "required": ["x"]}, text)
    assert (found is None) if says is None else (found is not None and says in found)
