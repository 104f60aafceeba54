"""The tokenizer's section of a GGUF file: what llama.cpp needs to make the same token ids as the student does."""

from __future__ import annotations

import json
from typing import Any

import gguf

from goldsmith.errors import InvalidInput
from goldsmith.student import cut


def write(writer: gguf.GGUFWriter, tokenizer: Any, vocab_size: int) -> None:
    """Everything under `tokenizer.`, read from the tokenizer itself; raises `InvalidInput` for one that is not byte-level BPE.

    No token is put before or after a prompt: the chat template says all that a prompt begins with.
    """
    described = json.loads(tokenizer.backend_tokenizer.to_str())
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_cut(described))
    tokens, types = _tokens(described, vocab_size)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in described["model"]["merges"]])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    # Without one written, llama.cpp takes a token of its own choice.
    writer.add_bos_token_id(tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(tokenizer.chat_template)


def _cut(described: dict[str, Any]) -> str:
    if described["model"]["type"] != "BPE":
        raise InvalidInput(f"adapter: its tokenizer is {described['model']['type']}; GGUF is written for byte-level BPE")
    name = cut.name_of(described.get("pre_tokenizer"))
    if name is None:
        kinds = " and ".join(step["type"] for step in cut.flat(described.get("pre_tokenizer")))
        raise InvalidInput(
            f"adapter: its tokenizer cuts a text by {kinds or 'nothing'}; GGUF is written for {', '.join(cut.KNOWN)}"
        )
    return name


def _tokens(described: dict[str, Any], vocab_size: int) -> tuple[list[str], list[int]]:
    """Every id's token and type. A model may have room for more ids than its tokenizer has tokens; those are unused."""
    tokens = [f"[PAD{number}]" for number in range(vocab_size)]
    types: list[int] = [gguf.TokenType.UNUSED] * vocab_size
    for token, number in described["model"]["vocab"].items():
        tokens[number], types[number] = token, gguf.TokenType.NORMAL
    for added in described["added_tokens"]:
        tokens[added["id"]] = added["content"]
        types[added["id"]] = gguf.TokenType.CONTROL if added["special"] else gguf.TokenType.USER_DEFINED
    return tokens, types
