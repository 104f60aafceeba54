"""Uploads, presets, translations, lengths, balance: where prompts come from besides recorded runs, and which are kept."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from goldsmith.datasets import Example, Origin
from goldsmith.errors import InvalidInput
from goldsmith.kinds.corpus import presets
from goldsmith.kinds.corpus.coverage import evenness, heat_map
from goldsmith.kinds.corpus.run import run
from goldsmith.kinds.corpus.schema import CorpusConfig, CorpusResult
from goldsmith.language import language_of
from goldsmith.teacher import Answer, BudgetReached, Teacher, rehearsal_prompts
from goldsmith.traditions import recognised, table
from goldsmith.uploads import Upload
from tests.fakes import FakeContext
from tests.kinds.corpus.test_corpus import CHECKOUT, CONFIG_IDS, IMPORT, context, recorded, workshop

ASKED = {"teacher": "rehearsal", "budget_usd": 1.0}


class ScriptedTeacher:
    """Answers as a function of system and prompt says; `money` questions are paid for."""

    def __init__(self, answer: Callable[[str, str], str], money: int = 10**6) -> None:
        self.provider, self.model, self.rehearsal = "rehearsal", "rehearsal-1", True
        self.asked: list[dict[str, Any]] = []
        self._answer, self._money = answer, money

    @property
    def spent_usd(self) -> float:
        return 0.01 * len(self.asked)

    saved_usd = 0.0

    async def ask(self, **question: Any) -> Answer:
        if len(self.asked) >= self._money:
            raise BudgetReached("no more")
        self.asked.append(question)
        await asyncio.sleep(0)
        text = self._answer(question["system"] or "", question["prompt"])
        return Answer(text, "end_turn", self.model, 1, 1, 0.01, None, True, False)

    async def aclose(self) -> None:
        pass


def rules(system: str, prompt: str) -> str:
    return rehearsal_prompts.translation(prompt) if "translate" in system else rehearsal_prompts.prompts(prompt)


def teaching(ctx: FakeContext, answer: Callable[[str, str], str] = rules, money: int = 10**6) -> ScriptedTeacher:
    made = ScriptedTeacher(answer, money)
    recorded_flags: list[bool] = []

    def open_teacher(provider: str, *, model: str | None, budget_usd: float, recorded: bool) -> Teacher:
        recorded_flags.append(recorded)
        return made  # type: ignore[return-value]

    ctx.teacher_factory = open_teacher
    made.recorded_flags = recorded_flags  # type: ignore[attr-defined]
    return made


def upload(ctx: FakeContext, lines: list[Mapping[str, Any]], origin: Origin = "upload") -> str:
    path = ctx.root / f"{uuid4()}.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    found = Upload(
        id=uuid4(),
        kind="prompts",
        name="prompts.jsonl",
        origin=origin,
        sha256="0" * 64,
        bytes=path.stat().st_size,
        about={"format": "jsonl", "rows": len(lines)},
        uri=str(path),
        created_by="test",
        created_at=datetime.now(UTC),
    )
    ctx.uploads[found.ref] = (found, path)
    return found.ref


def make(ctx: FakeContext, **config: Any) -> CorpusResult:
    given = {"name": "workshop", "base_model": None, "contexts": f"{IMPORT}/contexts.json"}
    return run(CorpusConfig(**(given | config)), ctx)


def rows_of(ctx: FakeContext) -> list[Example]:
    return list(ctx.examples("dataset:workshop@latest"))


LINES = [{"input": run.input, "language": run.language} for run in workshop()]


def test_uploads_are_a_corpus_of_their_own_with_their_lines_as_sources(tmp_path: Path) -> None:
    ctx = context(tmp_path, [])
    ref = upload(ctx, [*LINES, {"input": "Ein Gürteltier lernt Geige", "config_id": "mosaic"}])
    result = make(ctx, uploads=[ref], configs_per_prompt=2)
    assert result.prompts == 26
    assert result.by_origin == {
        "upload": {"train": result.by_split["train"].prompts, "heldout": result.by_split["heldout"].prompts}
    }
    assert ctx.dataset(result.dataset).parents == [ref, f"{IMPORT}/contexts.json"]
    armadillo = [row for row in rows_of(ctx) if "Gürteltier" in row.input]
    assert armadillo[0].config_id == "mosaic"
    assert {(row.source, row.language, row.origin, row.private) for row in armadillo} == {(f"{ref}:26", "de", "upload", True)}


def test_a_config_that_the_contexts_do_not_have_is_told_and_its_prompt_gets_others(tmp_path: Path) -> None:
    ctx = context(tmp_path, [])
    decomposed = unicodedata.normalize("NFD", "töpferei")
    assert decomposed not in CONFIG_IDS
    lines = [
        *LINES,
        {"input": "Ein Gürteltier lernt Geige", "config_id": "moosaic"},
        {"input": "An otter repairs clocks", "config_id": decomposed},
        {"input": "Two geese run a bakery", "config_id": "moosaic"},
    ]
    result = make(ctx, uploads=[upload(ctx, lines)], configs_per_prompt=1)
    assert result.unknown_configs == {"moosaic": 2}
    assert "töpferei" in [row.config_id for row in rows_of(ctx) if "otter" in row.input]
    assert result.prompts == len(lines)
    assert {row.config_id for row in rows_of(ctx)} <= set(CONFIG_IDS)


@pytest.mark.parametrize(
    ("lines", "gives"),
    [
        ([{"input": "Ein Gürteltier lernt Geige"}], "gives 1"),
        ([{"input": text} for text in ("a kite in the wind", "A kite in the wind!", "a  KITE in the wind")], "gives 1"),
        ([{"input": "My phone number is 0171 2345678"}, {"input": "call anna.miller@example.org"}], "gives 0"),
        ([{"input": "a"}, {"input": "b"}], "gives 0"),
    ],
)
def test_one_row_duplicates_alone_and_nothing_that_may_be_used_are_refused(
    tmp_path: Path, lines: list[Mapping[str, Any]], gives: str
) -> None:
    ctx = context(tmp_path, [])
    ref = upload(ctx, lines)
    with pytest.raises(InvalidInput, match=gives) as refused:
        make(ctx, uploads=[ref], min_words=2)
    assert refused.value.errors[0]["field"] == "uploads"
    assert ctx.datasets == {}


def test_traditions_that_nobody_names_are_uncovered_and_the_rest_is_balanced(tmp_path: Path) -> None:
    ctx = context(tmp_path, [])
    result = make(ctx, uploads=[upload(ctx, LINES)], configs_per_prompt=2)
    assert set(table()) - set(result.by_tradition) <= set(result.uncovered)
    covered = json.loads(ctx.artifact(result.coverage).read_bytes())
    assert all(not covered["traditions"][name]["prompts"] for name in result.uncovered)
    used = [sum(counts.values()) for counts in result.by_config.values()]
    assert max(used) - min(used) <= 2


def test_a_language_is_detected_where_none_is_given_and_only_wanted_ones_stay(tmp_path: Path) -> None:
    ctx = context(tmp_path, [])
    ref = upload(ctx, [{"input": line["input"]} for line in LINES])
    result = make(ctx, uploads=[ref], languages=["en"])
    assert set(result.by_language) == {"en"}
    assert result.prompts == sum(language_of(line["input"]) == "en" for line in LINES)
    assert result.dropped["in another language: de"] == 25 - result.prompts


def test_personal_data_of_people_is_left_out_and_counted(tmp_path: Path) -> None:
    secret = "schreib mir an lena.kraus@beispiel.de einen Brief"
    ctx = context(tmp_path, [*workshop(), recorded(700, secret)])
    ref = upload(ctx, [{"input": "call me at 0151 23456789 about the moon"}])
    result = make(ctx, runs=IMPORT, uploads=[ref])
    reasons = {reason for reason in result.dropped if reason.startswith("personal data: ")}
    assert any("email" in reason for reason in reasons)
    assert any("phone" in reason for reason in reasons)
    assert not [row for row in rows_of(ctx) if "@" in row.input or "0151" in row.input]
    assert "beispiel" not in json.dumps([ctx.logs, ctx.events]) + ctx.artifact(result.report).read_text()


def test_what_was_typed_stays_the_childs_whoever_uploads_it_again(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    ref = upload(ctx, [{"input": str(LINES[0]["input"]).upper(), "config_id": "herbal"}], origin="synthetic")
    result = make(ctx, runs=IMPORT, uploads=[ref])
    assert (result.prompts, result.duplicates) == (25, 1)
    row = next(row for row in rows_of(ctx) if row.input == LINES[0]["input"])
    assert (row.origin, row.source) == ("recorded", "run_000")


def test_of_nearly_the_same_prompts_one_is_kept(tmp_path: Path) -> None:
    typos = [recorded(800 + number, (run.input or "") + "s", run.language) for number, run in enumerate(workshop()[:10])]
    ctx = context(tmp_path, [*workshop(), *typos])
    result = make(ctx, runs=IMPORT)
    assert (result.prompts, result.near_duplicates) == (25, 10)
    assert result.dropped["nearly the same as another prompt"] == 10
    again = make(ctx, runs=IMPORT, dedup_threshold=1, name="all")
    assert (again.prompts, again.near_duplicates) == (35, 0)


def test_presets_are_made_in_their_numbers_and_marked_as_synthetic(tmp_path: Path) -> None:
    ctx = context(tmp_path, [])
    teacher = teaching(ctx)
    wanted = {"clean_image": 12, "photo": 11, "everyday_de": 10, "everyday_en": 13, "anti_default": 6}
    result = make(ctx, presets=wanted, dedup_threshold=1, temperature=0.9, **ASKED)
    assert {preset: sum(counts.values()) for preset, counts in result.by_preset.items()} == wanted
    assert (result.rehearsal, result.label, result.spent_usd) == (True, "REHEARSAL", 0.01 * len(teacher.asked))
    assert teacher.recorded_flags == [False]  # type: ignore[attr-defined]
    assert all(question["temperature"] == 0.9 and question["json_schema"] for question in teacher.asked)
    rows = rows_of(ctx)
    assert {(row.origin, row.private, row.source.partition("/")[0].partition(":")[0]) for row in rows} == {
        ("synthetic", False, "synthetic")
    }
    films = presets.data()["films"]["names"]
    assert all(row.input.startswith(tuple(films)) for row in rows if row.preset == "photo")
    assert {row.language for row in rows if row.preset == "everyday_de"} == {"de"}
    assert {row.input for row in rows if row.preset == "anti_default"} >= {"a beautiful landscape", "Musik"}
    assert ctx.dataset(result.dataset).parents == [f"{IMPORT}/contexts.json"]


def test_the_same_seed_asks_the_same_questions_and_another_one_does_not(tmp_path: Path) -> None:
    asked = []
    for seed in (1, 1, 2):
        ctx = context(tmp_path / str(len(asked)), [])
        teacher = teaching(ctx)
        make(ctx, presets={"clean_image": 25, "traditions": 21}, seed=seed, **ASKED)
        asked.append({question["prompt"] for question in teacher.asked})
    assert asked[0] == asked[1] != asked[2]


def test_traditions_are_shared_out_so_that_the_least_covered_get_most(tmp_path: Path) -> None:
    typed = [recorded(900 + number, text) for number, text in enumerate(table()["flamenco"].things["de"])]
    ctx = context(tmp_path, [*workshop(), *typed])
    teaching(ctx)
    result = make(ctx, runs=IMPORT, presets={"traditions": 2 * len(table()) - 2}, dedup_threshold=1, **ASKED)
    assert result.uncovered == []
    made = Counter(
        tradition for row in {row.input: row for row in rows_of(ctx)}.values() if row.preset for tradition in row.traditions
    )
    assert made["flamenco"] == 0
    assert {made[tradition] for tradition in table() if tradition != "flamenco"} == {2}
    assert json.loads(ctx.artifact(result.coverage).read_text())["traditions"]["flamenco"]["prompts"] == 4


def test_a_tradition_that_is_named_often_is_capped_and_more_can_be_named(tmp_path: Path) -> None:
    typed = [recorded(900 + number, text) for number, text in enumerate(table()["flamenco"].things["de"])]
    ctx = context(tmp_path, [*workshop(), *typed])
    result = make(ctx, runs=IMPORT, per_tradition=2, traditions={"alpine": ["wackelpudding"], "flamenco": ["kobold"]})
    assert sum(result.by_tradition["flamenco"].values()) == 2
    assert sum(result.by_tradition["alpine"].values()) == 1
    assert result.dropped == {"more than 2 prompts name flamenco": 3}
    assert "ukrainian" in result.uncovered


@pytest.mark.parametrize(
    ("preset", "answer", "reason"),
    [
        ("clean_image", "<html>Sign in</html>", "the teacher's answer is no list of prompts"),
        ("clean_image", '{"prompts": ["a', "the teacher's answer is no list of prompts"),
        ("clean_image", "", "the teacher's answer is no list of prompts"),
        ("clean_image", '{"prompts": [1, null]}', "the teacher's answer is no list of prompts"),
        ("clean_image", '{"prompts": [" "]}', "a made prompt is empty"),
        ("clean_image", json.dumps({"prompts": ["a dog in the house " * 40]}), "a made prompt has more than 40 words"),
        (
            "clean_image",
            '{"prompts": ["a dog with bokeh", "ein Hund mit der Kamera"]}',
            "a made prompt speaks of cameras or film",
        ),
        ("photo", '{"prompts": ["a dog in the garden"]}', "a made prompt does not begin with its film"),
        (
            "everyday_de",
            '{"prompts": ["the dog is in the house with the cat"]}',
            "a made prompt is in another language than asked",
        ),
        ("traditions", '{"prompts": ["a dog"]}', "a made prompt does not name its tradition"),
    ],
)
def test_what_a_teacher_makes_of_it_is_checked_and_the_rest_is_counted(
    tmp_path: Path, preset: str, answer: str, reason: str
) -> None:
    ctx = context(tmp_path, workshop())
    teacher = teaching(ctx, lambda system, prompt: answer)
    result = make(ctx, runs=IMPORT, presets={preset: 12}, **ASKED)
    assert result.dropped[reason] >= 1
    assert result.prompts == 25
    assert len(teacher.asked) <= (7 if preset != "traditions" else 60)


def test_a_budget_that_ends_leaves_what_was_bought(tmp_path: Path) -> None:
    ctx = context(tmp_path, [])
    teaching(ctx, money=3)
    result = make(ctx, presets={"clean_image": 500}, dedup_threshold=1, **ASKED)
    assert result.stopped_by == "budget"
    assert 20 <= result.prompts <= 30


def test_prompts_are_translated_with_the_original_kept(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    teacher = teaching(ctx)
    result = make(ctx, runs=IMPORT, translate=True, **ASKED)
    assert teacher.recorded_flags == [True]  # type: ignore[attr-defined]
    assert result.translated >= 5
    rows = [row for row in rows_of(ctx) if row.original]
    assert {row.language for row in rows_of(ctx)} == {"en"}
    typed = {run.input for run in workshop() if run.language == "de"}
    assert {row.original for row in rows} <= typed
    assert all(row.origin == "recorded" and row.rehearsal and row.input != row.original for row in rows)
    lost = sum(count for reason, count in result.dropped.items() if reason.startswith("not translated"))
    assert result.translated + lost == len(typed)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("{}", "not translated: the teacher's answer is no translation"),
        ('{"translation": 5}', "not translated: the teacher's answer is no translation"),
        ('{"translation": "der Hund und die Katze sind nicht hier"}', "not translated: the teacher's answer is not English"),
        (json.dumps({"translation": "the dog " * 60}), "not translated: the teacher's answer is much longer"),
        ('{"translation": "write to lena.kraus@beispiel.de about the whale"}', "personal data: email"),
    ],
)
def test_a_translation_that_is_none_leaves_the_prompt_out(tmp_path: Path, answer: str, reason: str) -> None:
    ctx = context(tmp_path, workshop())
    teaching(ctx, lambda system, prompt: answer)
    result = make(ctx, runs=IMPORT, translate=True, **ASKED)
    assert result.dropped == {reason: 15}
    assert result.translated == 0


def test_without_money_for_translations_only_english_prompts_are_left(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    teaching(ctx, money=0)
    result = make(ctx, runs=IMPORT, translate=True, **ASKED)
    assert (result.stopped_by, result.dropped) == ("budget", {"not translated: the budget was reached": 15})


class WordTokenizer:
    """A token is a word; its chat template adds two."""

    def __call__(self, texts: list[str], add_special_tokens: bool) -> dict[str, list[list[int]]]:
        assert not add_special_tokens
        return {"input_ids": [list(range(len(text.split()))) for text in texts]}

    def apply_chat_template(self, messages: list[dict[str, str]], **options: Any) -> str:
        return f"<user> {messages[0]['content']} <assistant>"


def counting(ctx: FakeContext) -> FakeContext:
    ctx.student_factory = lambda base_model, adapter: SimpleNamespace(tokenizer=WordTokenizer())
    return ctx


def test_lengths_are_the_students_tokens_and_long_rows_are_reported_whole(tmp_path: Path) -> None:
    long = recorded(950, "Drache " + "und noch einer " * 10)
    ctx = counting(context(tmp_path, [*workshop(), long]))
    result = make(ctx, runs=IMPORT, base_model="tiny", max_length=60, answer_tokens=25, configs_per_prompt=1)
    assert result.lengths is not None
    assert result.lengths.longest == 2 + len(f"Do: {CHECKOUT.task} How: Regeln: loom. What: {long.input}".split())
    assert result.too_long == 1
    assert result.prompts == 25
    report = json.loads(ctx.artifact(result.report).read_text())
    assert report["rows_too_long"] == [
        {
            "source": "run_950",
            "config_id": "loom",
            "split": report["rows_too_long"][0]["split"],
            "tokens": result.lengths.longest,
        }
    ]
    assert ctx.dataset(result.dataset).manifest["filters"]["longer than max_length"] == 1


def test_prompts_are_limited_in_the_students_tokens(tmp_path: Path) -> None:
    ctx = counting(context(tmp_path, workshop()))
    result = make(ctx, runs=IMPORT, base_model="tiny", min_input_tokens=6, max_input_tokens=8)
    sizes = [len((run.input or "").split()) for run in workshop()]
    assert result.dropped == {
        "fewer than 6 tokens": sum(size < 6 for size in sizes),
        "more than 8 tokens": sum(size > 8 for size in sizes),
    }


def test_a_max_length_that_leaves_nothing_says_what_would_fit(tmp_path: Path) -> None:
    ctx = counting(context(tmp_path, workshop()))
    with pytest.raises(InvalidInput, match=r"max_length: 75 of 75 rows have more than 10 tokens"):
        make(ctx, runs=IMPORT, base_model="tiny", max_length=20, answer_tokens=10)


def test_a_context_that_lacks_a_language_is_counted(tmp_path: Path) -> None:
    only_english = CHECKOUT.configs[1].model_copy(update={"context": {"en": "Rules of loom."}})
    checkout = CHECKOUT.model_copy(update={"configs": [CHECKOUT.configs[0], only_english]})
    ctx = context(tmp_path, workshop(), checkout)
    result = make(ctx, runs=IMPORT, configs_per_prompt=2)
    assert result.context_fallbacks == {"loom: de → en": 15}


def test_the_wiki_block_is_there_where_a_config_asks_for_it_or_never(tmp_path: Path) -> None:
    asks = CHECKOUT.configs[0].model_copy(update={"meta": {"wikipedia": True}})
    checkout = CHECKOUT.model_copy(update={"wiki": "\n[look it up]", "configs": [asks, *CHECKOUT.configs[1:]]})
    ctx = context(tmp_path, workshop(), checkout)
    make(ctx, runs=IMPORT)
    assert {(row.config_id, row.wiki, row.messages[0].content.endswith("[look it up]")) for row in rows_of(ctx)} == {
        (config_id, config_id == "herbal", config_id == "herbal") for config_id in CONFIG_IDS
    }
    make(ctx, runs=IMPORT, wiki="never")
    assert not any(row.wiki or "look it up" in row.messages[0].content for row in rows_of(ctx))


def test_drift_since_the_version_before_is_told(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    assert make(ctx, runs=IMPORT, configs=["herbal", "loom"]).drift == []
    assert make(ctx, runs=IMPORT).drift == []
    moved = [
        CHECKOUT.configs[0].model_copy(update={"context": {"en": "New rules.", "de": "Regeln: herbal."}}),
        *CHECKOUT.configs[2:],
    ]
    newer = context(tmp_path, workshop(), CHECKOUT.model_copy(update={"task": "Another.", "configs": moved}))
    newer.datasets = ctx.datasets
    drift = make(newer, runs=IMPORT).drift
    assert [line.partition(":")[0] for line in drift] == ["template or task", "herbal (en)", "loom"]


def test_contexts_may_be_uploaded(tmp_path: Path) -> None:
    ctx = context(tmp_path, [])
    prompts = upload(ctx, LINES)
    found, _ = ctx.uploads[prompts]
    path = tmp_path / "contexts.json"
    path.write_text(CHECKOUT.model_dump_json())
    contexts = found.model_copy(update={"id": uuid4(), "kind": "contexts"})
    ctx.uploads[contexts.ref] = (contexts, path)
    result = make(ctx, uploads=[prompts], contexts=contexts.ref)
    assert set(result.by_config) == set(CONFIG_IDS)
    assert ctx.dataset(result.dataset).parents == [prompts, contexts.ref]


def test_the_coverage_is_a_report_and_a_picture(tmp_path: Path) -> None:
    ctx = context(tmp_path, [*workshop(), recorded(1, "Eine Klezmer-Kapelle im Regen")])
    result = make(ctx, runs=IMPORT)
    found = json.loads(ctx.artifact(result.coverage).read_text())
    assert found["traditions"]["jewish"]["prompts"] == 1
    assert sum(found["traditions"]["jewish"]["by_config"].values()) == 3
    svg = ctx.artifact(result.coverage_plot).read_text()
    assert svg == heat_map(found)
    for label in (*(row.name["en"] for row in table().values()), *CONFIG_IDS):
        assert label in svg
    assert evenness([3, 3, 3]) == 1
    assert evenness([9, 0, 0]) == evenness([]) == 0
    assert recognised("Eine Klezmer-Kapelle im Regen") == ["jewish"]


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "give runs, uploads or presets"),
        ({"presets": {"anti_default": 5}, "contexts": None}, "contexts: without runs"),
        ({"presets": {"photo": 5}}, "teacher: photo need one"),
        ({"runs": IMPORT, "translate": True}, "teacher: translate need one"),
        ({"runs": IMPORT, "teacher": "rehearsal"}, "neither translate nor a preset"),
        ({"presets": {"photo": 5}, "teacher": "rehearsal"}, "budget_usd: a teacher needs one"),
        ({"presets": {"photo": 5}, "teacher": "rehearsal", "budget_usd": 0}, "greater than 0"),
        ({"presets": {"photo": 0}}, "greater than or equal to 1"),
        ({"presets": {"polaroid": 5}}, "clean_image"),
        ({"runs": IMPORT, "max_length": 300, "answer_tokens": 300}, "leave nothing of max_length"),
        ({"runs": IMPORT, "min_input_tokens": 9, "max_input_tokens": 8}, "min_input_tokens: 9 is above"),
        ({"uploads": ["upload:1"]}, "pattern"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CorpusConfig(**({"name": "x", "contexts": f"{IMPORT}/contexts.json"} | config))
