"""The pages as files: who may have them, and what they may do in a browser. `tests/web` has them in one."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from api.page import FILES, WEB
from tests.api.conftest import Serve
from tests.api.problems import problem

ID = "01a1fee9-3da2-7ad9-af70-baea227228cb"


@pytest.mark.parametrize("path", ["/experiments", f"/experiments/{ID}", *(f"/web/{name}" for name in sorted(FILES))])
def test_a_page_is_there_without_a_key_and_runs_nothing_foreign(serve: Serve, path: str) -> None:
    client = serve(api_key="a-key-for-tests")
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    again = client.get(path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(f"/v1{path}").status_code in (401, 404), "the data need the key"


@pytest.mark.parametrize("name", ["nothing.js", "shell.html", "experiment.html", "..%2Fapp.py", "%2e%2e/app.py", "page.py"])
def test_no_other_file_is_given(client: TestClient, name: str) -> None:
    problem(client.get(f"/web/{name}"), 404)


def test_the_pages_are_whole_without_any_other_host_and_without_scripts_of_their_own(client: TestClient) -> None:
    served = {path: client.get(path).text for path in ("/experiments", f"/experiments/{ID}")}
    for name, text in (served | {file: (WEB / file).read_text() for file in FILES}).items():
        foreign = re.findall(r"(?:src|href)=[\"']?(?:https?:)?//|@import|url\(\s*[\"']?(?:https?:)?//", text)
        assert not foreign, name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), name
        if name in served:
            assert not re.search(r"\$\{?[a-z]", text), "every blank is filled in"
            assert re.findall(r"<script\b[^>]*>(.*?)</script>", text, re.DOTALL) == [""], "no script within the page"
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=", text), name
