"""The rehearsal's rules for prompts that a corpus has made, and for translations. No model: frames filled with what the request
names, and a gloss word by word."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any


def prompts(request: str) -> str:
    """`{"prompts": […]}`: one for each line `- <thing>, <place>` of the request, in its language, after its film if it names one."""
    fields = dict(re.findall(r"^(Language|Film|Tradition): (.+)$", request, re.MULTILINE))
    language = "de" if fields.get("Language") == "German" else "en"
    made = []
    for line in re.findall(r"^- (.+)$", request, re.MULTILINE):
        thing, _, place = line.rpartition(", ")
        frames = _words()["frames"][language]
        frame = frames[int(hashlib.sha256(f"{request}\0{line}".encode()).hexdigest()[:8], 16) % len(frames)]
        text = frame.format(thing=thing, place=place)
        made.append(f"{fields['Film']}: {text}" if "Film" in fields else text)
    return json.dumps({"prompts": made}, ensure_ascii=False)


def translation(text: str) -> str:
    """`{"translation": "…"}`: the words that the gloss knows in English, the others as they are."""
    gloss = _words()["gloss"]
    found = re.sub(r"[^\W\d_]+", lambda match: gloss.get(match[0].casefold(), match[0]), text)
    return json.dumps({"translation": found}, ensure_ascii=False)


@lru_cache
def _words() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
