"""The Go template writes what the tokenizer's own template writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from goldsmith.errors import InvalidInput
from goldsmith.export.template import chat_form, modelfile
from goldsmith.student.conversation import render
from tests.ollama_server import go_template
from tests.tiny import TEMPLATE, make_model

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are \"helpful\""
    " {{ in braces }}<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
THINKS = TEMPLATE.replace(
    "<|im_start|>assistant\n{% endif %}",
    "<|im_start|>assistant\n{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
WITH_BOS = "<|endoftext|>" + TEMPLATE
COUNTS = "{{ messages|length }}" + TEMPLATE
REFUSAL = "{% if message['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
ONLY_USERS = TEMPLATE.replace("<|im_start|>{{ message", f"{REFUSAL}<|im_start|>{{{{ message")


def turns(*roles: str) -> list[dict[str, str]]:
    return [{"role": role, "content": f'{role} says "{number}"\n {{{{ .Messages }}}} '} for number, role in enumerate(roles)]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(make_model(tmp_path_factory.mktemp("tiny")))


@pytest.mark.parametrize("template", [TEMPLATE, SMOLLM2, THINKS, WITH_BOS])
def test_every_conversation_reads_the_same(tokenizer: Any, template: str) -> None:
    tokenizer.chat_template = template
    form = chat_form(tokenizer)

    for roles in (["user"], ["system", "user"], ["user", "assistant", "user"], ["system", "user", "assistant", "user"]):
        expected = render(tokenizer, turns(*roles), answer_next=True)
        assert form.rendered(turns(*roles)) == expected
        assert go_template(form.go(), turns(*roles)) == expected


@pytest.mark.parametrize(("template", "why"), [(COUNTS, "otherwise than turn by turn"), (ONLY_USERS, "no system turn")])
def test_what_a_go_template_cannot_write_is_refused(tokenizer: Any, template: str, why: str) -> None:
    tokenizer.chat_template = template

    with pytest.raises(InvalidInput, match=why):
        chat_form(tokenizer)


def test_a_modelfile_names_files_template_and_options(tmp_path: Path) -> None:
    text = modelfile("base.gguf", "adapter.gguf", "{{ .X }}", {"top_p": 0.8, "stop": ["<|im_end|>", "a"]}, ["said"])

    assert text == (
        '# said\nFROM ./base.gguf\nADAPTER ./adapter.gguf\nTEMPLATE """{{ .X }}"""\n'
        'PARAMETER top_p 0.8\nPARAMETER stop "<|im_end|>"\nPARAMETER stop "a"\n'
    )
