"""llama.cpp, which serves a GGUF file over HTTP on loopback, in a process of its own: on a bad file it aborts the process."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from goldsmith.errors import GoldsmithError, InvalidInput

ANSWER_TIMEOUT_S = 1800.0
"""A 4B model in float32 reads 3,000 tokens in some minutes on a CPU."""


class LlamaCppFailed(GoldsmithError):
    """The file could not be loaded, or the process ended while it answered; the message has its last words."""

    title = "llama.cpp failed"


@dataclass(frozen=True)
class Token:
    id: int
    logprob: float


@dataclass(frozen=True)
class LlamaCpp:
    """One loaded file, with at most one adapter. Greedy throughout."""

    url: str
    process: subprocess.Popen[str]
    last_words: Path

    def rendered(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt as the file's own chat template writes it."""
        body = {"messages": [dict(turn) for turn in messages], "chat_template_kwargs": {"enable_thinking": False}}
        text: str = self._post("/apply-template", body)["prompt"]
        return text

    def tokenized(self, text: str) -> list[int]:
        """Token ids, special tokens read as such and none added."""
        ids: list[int] = self._post("/tokenize", {"content": text, "parse_special": True, "add_special": False})["tokens"]
        return ids

    def continued(self, ids: Sequence[int], limit: int) -> tuple[list[int], list[Token]]:
        """What comes next, one token after the other; the one that closes the answer included, when it does close.

        Second, the log-probabilities, which llama.cpp tells only of tokens after which the text ends with a whole character.
        """
        body = {"prompt": list(ids), "n_predict": limit, "n_probs": 1, "temperature": -1, "return_tokens": True}
        answer = self._post("/completion", body)
        return answer["tokens"], [Token(one["id"], one["logprob"]) for one in answer.get("completion_probabilities", [])]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            response = httpx.post(
                self.url + path, json=body, timeout=httpx.Timeout(ANSWER_TIMEOUT_S, connect=5), trust_env=False
            )
        except httpx.TransportError as error:
            raise LlamaCppFailed(f"llama.cpp ended at {path}: {_tail(self.last_words)}") from error
        if not response.is_success:
            raise LlamaCppFailed(f"llama.cpp refused {path} with {response.status_code}: {response.text[:300]}")
        answer: dict[str, Any] = response.json()
        return answer


def installed() -> bool:
    return importlib.util.find_spec("xllamacpp") is not None


def check_installed() -> None:
    """Raise `InvalidInput` that says what to install."""
    if not installed():
        raise InvalidInput(
            "parity: what is written is checked in llama.cpp, which is not installed on this worker; pip install"
            " 'goldsmith[export]' (the package xllamacpp), or set parity to false: then nobody knows whether it serves"
        )


@contextmanager
def serve(model: Path, adapter: Path | None = None, *, context: int, exact: bool = False) -> Iterator[LlamaCpp]:
    """Load a file and serve it until the block ends. `exact`: keys and values are kept in float32, not float16.

    The process ends with this one: its standard input is its lifeline.
    """
    order = {"model": str(model), "adapter": str(adapter) if adapter else None, "context": context, "exact": exact}
    with tempfile.TemporaryDirectory(prefix="goldsmith-llama-") as folder:
        last_words = Path(folder) / "stderr"
        with last_words.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "goldsmith.student.llama_cpp_process", json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        try:
            assert process.stdout is not None
            for line in process.stdout:  # llama.cpp may say something, too
                if line.startswith("http://"):
                    break
            else:
                process.wait()
                raise LlamaCppFailed(f"llama.cpp does not load {model.name}: {_tail(last_words)}")
            yield LlamaCpp(line.strip(), process, last_words)
        finally:
            process.kill()
            process.communicate()


def threads() -> int:
    """Cores that this process may use, or OMP_NUM_THREADS."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return (
        int(asked)
        if asked.isdigit() and int(asked)
        else len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else 1
    )


def _tail(path: Path) -> str:
    lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-4:])[-800:] or "it said nothing"
