from __future__ import annotations

import hashlib
import json
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from goldsmith.datasets import Example
from goldsmith.devserver.checkout import Checkout, InterceptionConfig, read_checkout
from goldsmith.devserver.exports import export_root, find_runs, read_run
from goldsmith.devserver.files import Unreadable
from goldsmith.devserver.prompts import render
from goldsmith.errors import GoldsmithError, InvalidInput, JobCancelled
from goldsmith.kinds.corpus.leaks import check
from goldsmith.kinds.corpus.prompts import collect
from goldsmith.kinds.corpus.run import run
from goldsmith.kinds.corpus.schema import CorpusConfig, CorpusResult
from goldsmith.kinds.corpus.split import group
from goldsmith.kinds.corpus.words import jaccard, normal, shingles, template
from goldsmith.language import language_of
from goldsmith.recordings import Feedback, RecordedRun
from tests.fakes import FakeContext

IMPORT = "job:018f0000-0000-7000-8000-000000000001"
WISHES = {
    "de": [
        "Ein Leuchtturm strickt Schals für die Wale",
        "Unter der Treppe wohnt ein müder Kobold",
        "Warum hat der Kaktus Geburtstag?",
        "Meine Großtante fliegt mit dem Bügeleisen nach Peru",
        "Zwölf Enten warten auf die U-Bahn",
        "Ein Wecker, der Angst vor dem Morgen hat",
        "Statt Wasser kommt Musik aus dem Hahn",
        "Der Schulhof ist über Nacht ein Meer geworden",
        "Male mir bitte einen Vulkan aus Wackelpudding",
        "Ein Zug aus Käse fährt durch das Mäuseland",
        "Wenn Schatten Eis essen könnten",
        "Die Ampel träumt von einer vierten Farbe",
        "Ich wünsche mir eine Bibliothek für Schnecken",
        "Auf dem Dach tanzen drei Schornsteine Tango",
        "Hinter jeder Tür ein anderes Wetter",
    ],
    "en": [
        "A lighthouse that is afraid of the dark",
        "My socks started a band last night",
        "Why do pigeons need passports?",
        "The moon got stuck in our chimney",
        "Please paint a train made of pillows",
        "Under the carpet lives a tiny librarian",
        "Seven umbrellas walking to school without children",
        "An owl who sells second-hand dreams",
        "Because of the wind, all the letters fell off the signs",
        "There was once a mountain with hiccups",
    ],
}


def recorded(number: int, text: str | None, language: str | None = "de", **changes: Any) -> RecordedRun:
    fields: dict[str, Any] = {
        "run_id": f"run_{number:03}",
        "device_id": f"device-{number % 5}",
        "content_sha256": hashlib.sha256(f"{number} {text}".encode()).hexdigest(),
        "recorded_at": datetime(2026, 3, 10, 9, tzinfo=UTC) + timedelta(minutes=number),
        "config_id": "loom",
        "context": "a context that somebody edited",
        "context_lang": language,
        "language": language,
        "input": text,
        "output": "an answer",
        "accepted": None,
        "exclusion": None,
    }
    return RecordedRun(**(fields | changes))


def workshop() -> list[RecordedRun]:
    wishes = [(text, language) for language, texts in WISHES.items() for text in texts]
    return [recorded(number, text, language) for number, (text, language) in enumerate(wishes)]


CONFIG_IDS = ("herbal", "loom", "mosaic", "töpferei")
CHECKOUT = Checkout(
    template="Do:\n{{TASK_INSTRUCTION}}\n\nHow:\n{{CONTEXT}}\n\nWhat:\n{{INPUT_TEXT}}",
    task="Turn the wish into a scene.",
    configs=[
        InterceptionConfig(
            config_id=config_id,
            name={},
            context={"en": f"Rules of {config_id}.", "de": f"Regeln: {config_id}."},
            parameters={},
            meta={},
        )
        for config_id in CONFIG_IDS
    ],
)


def context(tmp_path: Path, runs: list[RecordedRun], checkout: Checkout = CHECKOUT) -> FakeContext:
    ctx = FakeContext(tmp_path, kind="corpus")
    ctx.recorded_runs[IMPORT] = runs
    folder = tmp_path / "artifacts" / IMPORT.removeprefix("job:")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "contexts.json").write_text(checkout.model_dump_json())
    return ctx


def make(ctx: FakeContext, **config: Any) -> CorpusResult:
    return run(CorpusConfig(**({"name": "workshop", "runs": IMPORT, "base_model": None} | config)), ctx)


def rows_of(ctx: FakeContext, split: str | None = None) -> list[Example]:
    return list(ctx.examples("dataset:workshop@latest", split))


def test_prompts_times_configs_are_frozen_and_counted(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    result = make(ctx, configs_per_prompt=3, heldout_fraction=0.2)

    assert result.dataset == "dataset:workshop@1"
    assert (result.prompts, result.examples, result.duplicates, result.dropped) == (25, 75, 0, {})
    assert {split: counts.prompts for split, counts in result.by_split.items()} == {"train": 20, "heldout": 5}
    assert {split: counts.examples for split, counts in result.by_split.items()} == {"train": 60, "heldout": 15}
    assert result.by_language == {"de": {"train": 12, "heldout": 3}, "en": {"train": 8, "heldout": 2}}
    assert set(result.by_config) == set(CONFIG_IDS)
    assert sum(sum(counts.values()) for counts in result.by_config.values()) == 75
    version = ctx.dataset(result.dataset)
    assert version.counts == {"train": 60, "heldout": 15}
    assert version.parents == [IMPORT]
    assert not version.rehearsal
    assert version.manifest["template_version"] == CHECKOUT.template_version


def test_each_row_is_one_user_message_as_rendered_for_its_config(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    make(ctx)
    rows = rows_of(ctx)

    for row in rows:
        rendered = render(CHECKOUT, row.config_id, row.language, row.input)
        assert [(message.role, message.content) for message in row.messages] == [("user", rendered.content)]
        assert (row.context_lang, row.context_sha256, row.template_version) == (
            rendered.context_lang,
            rendered.context_sha256,
            rendered.template_version,
        )
    assert {row.source: row.input for row in rows} == {run.run_id: run.input for run in workshop()}
    assert len({(row.input, row.config_id) for row in rows}) == len(rows)


def test_train_comes_first_and_the_seed_decides_the_rest(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    inputs = []
    for seed in (1, 2):
        result = make(ctx, seed=seed)
        rows = list(ctx.examples(result.dataset))
        assert [row.split for row in rows] == ["train"] * 60 + ["heldout"] * 15
        inputs.append([row.input for row in rows if row.split == "train"])
    assert [text for text in inputs[0] if text in inputs[1]] != [text for text in inputs[1] if text in inputs[0]]


def test_nothing_crosses_the_split(tmp_path: Path) -> None:
    runs = workshop()
    variants = [
        recorded(100 + number, text.replace("e", "", 1) + " !", language)  # a typo, so a near duplicate
        for number, (text, language) in enumerate((run.input or "", run.language) for run in runs[::2])
    ]
    shared = [recorded(200, "Ein Drache auf dem Sofa"), recorded(201, "Eine ganze Blaskapelle auf der Rutschbahn")]
    ctx = context(tmp_path, runs + variants + shared[:1] + shared[1:])
    result = make(ctx, heldout_fraction=0.3, dedup_threshold=1)

    train, heldout = rows_of(ctx, "train"), rows_of(ctx, "heldout")
    assert train
    assert heldout
    assert not {row.group for row in train} & {row.group for row in heldout}
    assert not {normal(row.input) for row in train} & {normal(row.input) for row in heldout}
    assert not ({template(row.input) for row in train} & {template(row.input) for row in heldout}) - {None}
    similarity = max(jaccard(shingles(one.input), shingles(other.input)) for one in train for other in heldout)
    assert result.leak_check.model_dump() == {
        "shared_prompts": 0,
        "shared_templates": 0,
        "shared_groups": 0,
        "max_similarity": similarity,
    }
    assert similarity < 0.5
    assert result.groups < result.prompts
    assert result.largest_group >= 2


WORDS = st.sampled_from(["ein", "der", "auf", "mit", "the", "in", "wal", "mond", "drache", "lampe", "schnee", "kite", "zug"])
INPUTS = st.lists(st.lists(WORDS, min_size=2, max_size=6).map(" ".join), min_size=2, max_size=20)


@given(INPUTS, st.floats(0.05, 0.5), st.integers(0, 9), st.randoms(use_true_random=False))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_recordings_give_the_same_leak_free_corpus_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, inputs: list[str], fraction: float, seed: int, shuffle: random.Random
) -> None:
    runs = [recorded(number, text) for number, text in enumerate(inputs)]
    first = context(tmp_path_factory.mktemp("first"), runs)
    prompts, _ = collect(runs, 2, 150)
    if len(prompts) < 2 or len(set(group(prompts, 0.5, lambda done: None))) < 2:
        with pytest.raises(InvalidInput, match=r"2 different prompts|form 1 group"):
            make(first, heldout_fraction=fraction, seed=seed, dedup_threshold=1)
        return
    result = make(first, heldout_fraction=fraction, seed=seed, dedup_threshold=1)
    assert result.by_split["train"].prompts > 0
    assert result.by_split["heldout"].prompts > 0
    assert result.leak_check.max_similarity < 0.5
    assert result.prompts + result.duplicates == len(runs)

    shuffle.shuffle(runs)
    second = context(tmp_path_factory.mktemp("second"), runs)
    make(second, heldout_fraction=fraction, seed=seed, dedup_threshold=1)
    assert rows_of(first) == rows_of(second)


def test_the_same_text_is_one_prompt_and_favourites_choose_its_first_config(tmp_path: Path) -> None:
    runs = [
        *workshop(),
        recorded(301, "ein gürteltier  lernt geige!", config_id="mosaic"),
        recorded(399, "Ein Gürteltier lernt Geige", config_id="mosaic", recorded_at=datetime(2026, 3, 9, tzinfo=UTC)),
        recorded(302, "Ein Gürteltier lernt Geige", config_id="herbal", feedback=[Feedback("favorite")]),
        recorded(303, "Ein Gürteltier lernt Geige", config_id=None, feedback=[Feedback("regeneration")]),
    ]
    ctx = context(tmp_path, runs)
    result = make(ctx, configs_per_prompt=2)

    assert (result.prompts, result.duplicates) == (26, 3)
    rows = [row for row in rows_of(ctx) if "Gürteltier" in row.input]
    assert [(row.config_id, row.source, row.input) for row in rows] == [
        ("herbal", "run_399", "Ein Gürteltier lernt Geige"),
        ("mosaic", "run_399", "Ein Gürteltier lernt Geige"),
    ]


def test_runs_that_must_not_train_are_left_out_with_their_reason(tmp_path: Path) -> None:
    runs = [
        *workshop(),
        recorded(400, "Bitte schick es an meine Adresse", exclusion="personal data"),
        recorded(401, "Etwas ganz anderes im Garten", exclusion="personal data"),
        recorded(402, None),
        recorded(403, "🐉🐉🐉"),
        recorded(404, "Drache!"),
        recorded(405, "und " * 151),
    ]
    ctx = context(tmp_path, runs)
    result = make(ctx)

    assert result.prompts == 25
    assert result.dropped == {"fewer than 2 words": 2, "more than 150 words": 1, "no input was recorded": 1, "personal data": 2}
    assert not {row.source for row in rows_of(ctx)} & {f"run_{number}" for number in range(400, 406)}
    report = json.loads(ctx.artifact(result.report).read_text())
    assert report["runs_left_out"]["personal data"] == ["run_400", "run_401"]
    assert report["result"] == result.model_dump(mode="json")
    for run_text in ("Adresse", "Garten", "Leuchtturm"):  # no child's text in the report or the log
        assert run_text not in json.dumps([report, ctx.logs, ctx.events], ensure_ascii=False)


def test_a_language_that_could_not_be_told_gets_the_english_context(tmp_path: Path) -> None:
    ctx = context(tmp_path, [*workshop(), recorded(500, "Bir ahtapot piyano çalıyor", None)])
    make(ctx)
    rows = [row for row in rows_of(ctx) if row.source == "run_500"]
    assert {(row.language, row.context_lang) for row in rows} == {("und", "en")}


def test_only_the_chosen_configs_are_used_all_of_them_where_there_are_few(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    result = make(ctx, configs=["töpferei", "herbal"], configs_per_prompt=5)
    assert set(result.by_config) == {"herbal", "töpferei"}
    assert result.examples == 50


def test_other_contexts_than_those_of_the_import_become_a_parent(tmp_path: Path) -> None:
    other = "job:018f0000-0000-7000-8000-000000000002"
    ctx = context(tmp_path, workshop())
    newer = CHECKOUT.model_copy(update={"task": "Another task."})
    folder = tmp_path / "artifacts" / other.removeprefix("job:")
    folder.mkdir()
    (folder / "contexts-2.json").write_text(newer.model_dump_json())

    result = make(ctx, contexts=f"{other}/contexts-2.json")
    assert ctx.dataset(result.dataset).parents == [IMPORT, f"{other}/contexts-2.json"]
    assert rows_of(ctx)[0].template_version == newer.template_version


def test_contexts_that_are_missing_or_something_else_are_refused(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    refused = {f"{IMPORT}/nothing.json": "does not exist", ctx.save_artifact("skipped.json", b"[]"): "is something else"}
    for contexts, why in refused.items():
        with pytest.raises(InvalidInput, match=f"{contexts} {why}; allowed is the contexts.json of an import job"):
            make(ctx, contexts=contexts)


def test_an_unknown_config_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="herbal, loom, mosaic, töpferei"):
        make(context(tmp_path, workshop()), configs=["lomm"])


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([], r"gives 0 \(nothing was left out\)"),
        ([recorded(1, "Ein Zug"), recorded(2, "ein zug!")], r"at least 2 different prompts .* gives 1 "),
        ([recorded(1, "Ein Zug"), recorded(2, "Ein Wal", exclusion="blocked")], r"gives 1 \(1: blocked\)"),
        (
            [recorded(1, "Ein Zug"), recorded(2, "Eine Möwe"), recorded(3, "Ein Bär")],
            "3 prompts .* form 1 group.*Import more",
        ),
    ],
)
def test_too_little_to_split_is_refused_with_what_to_do(tmp_path: Path, runs: list[RecordedRun], said: str) -> None:
    ctx = context(tmp_path, runs)
    with pytest.raises(InvalidInput, match=said):
        make(ctx)
    assert ctx.datasets == {}


def test_a_leak_is_an_error_and_not_a_dataset(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    make(ctx)
    rows = rows_of(ctx)
    base = next(row for row in rows if row.split == "train" and row.input == "Ein Zug aus Käse fährt durch das Mäuseland")
    leaks = {
        "shared_prompts": {"input": "ein zug aus KÄSE fährt durch das Mäuseland!"},
        "shared_templates": {"input": "Eine Schildkröte aus dickem Glas lacht durch die Nachtluft"},
        "shared_groups": {"input": "Honig", "group": base.group},
        "max_similarity": {"input": "Käse fährt durch das Mäuseland"},
    }
    for field, changes in leaks.items():
        leak = base.model_copy(update={"split": "heldout", "group": "another"} | changes)
        with pytest.raises(GoldsmithError, match="leaks") as refused:
            check([*rows, leak], 0.5, lambda done: None)
        found = json.loads(refused.value.detail.partition("saved: ")[2])
        assert found[field] >= (0.5 if field == "max_similarity" else 1)
        if field != "shared_prompts":  # the same text shares its template and is most similar, too
            assert [each for each in leaks if found[each] >= (0.5 if each == "max_similarity" else 1)] == [field]
    with pytest.raises(GoldsmithError, match="empty side"):
        check(rows_of(ctx, "train"), 0.5, lambda done: None)


def test_progress_rises_to_100_and_a_cancel_stops_the_run_before_anything_is_saved(tmp_path: Path) -> None:
    ctx = context(tmp_path, workshop())
    make(ctx)
    percents = [percent for percent, _, _ in ctx.events]
    assert percents == sorted(percents)
    assert percents[-1] == 100

    for calls in range(1, len(percents) - 1):
        cancelled = context(tmp_path, workshop())
        cancelled.cancel_after(calls)
        with pytest.raises(JobCancelled):
            make(cancelled)
        assert cancelled.datasets == {}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"heldout_fraction": 0.6}, "less than or equal to 0.5"),
        ({"near_duplicate_threshold": 0.1}, "greater than or equal to 0.3"),
        ({"configs_per_prompt": 0}, "greater than or equal to 1"),
        ({"configs": ["a", "a"]}, "names .* twice"),
        ({"min_words": 20, "max_words": 10}, "min_words: 20 is above max_words 10"),
        ({"runs": "018f"}, "runs"),
        ({"heldout": 0.2}, "Extra inputs are not permitted"),
    ],
)
def test_a_bad_config_names_the_field_and_what_is_allowed(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        CorpusConfig(**({"name": "workshop", "runs": IMPORT} | changes))


def test_the_example_workshop_becomes_a_corpus(tmp_path: Path) -> None:
    example = Path(__file__).parents[3] / "examples" / "workshop"
    checkout, _ = read_checkout(example)
    root = export_root(example)
    folders, _ = find_runs(root)
    readings = []
    for folder in folders:
        with suppress(Unreadable):
            readings.append(read_run(folder, root, checkout))
    runs = [
        recorded(number, each.input, language_of(each.input or ""), config_id=each.config_id, exclusion=each.exclusion)
        for number, each in enumerate(readings)
    ]
    ctx = context(tmp_path, runs, checkout)
    result = make(ctx)

    assert result.prompts >= 50
    assert result.examples == 3 * result.prompts
    assert abs(result.by_split["heldout"].prompts / result.prompts - 0.2) < 0.02
    assert min(counts["heldout"] for counts in result.by_language.values()) >= 3
    assert set(result.by_config) == {each.config_id for each in checkout.configs}
    for split in ("train", "heldout"):
        used = [counts[split] for counts in result.by_config.values()]
        assert max(used) - min(used) <= 2
    assert result.leak_check.max_similarity < 0.2
