"""Claude in Amazon Bedrock, through the SDK's Bedrock client. It takes no batches and counts no tokens."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

import anthropic
import httpx2

from goldsmith.errors import GoldsmithError
from goldsmith.teacher.anthropic import Messages
from goldsmith.teacher.prices import Price
from goldsmith.teacher.privacy import Gate
from goldsmith.teacher.provider import Failed, Request

WIRE = "bedrock-2023-05-31"
"""What `InvokeModel` takes for every Claude; the SDK's own newer version is refused for 4.6 and earlier."""
CREDENTIALS = "your AWS credentials (AWS_PROFILE, AWS_ACCESS_KEY_ID … or AWS_BEARER_TOKEN_BEDROCK)"


class Bedrock(Messages):
    errors = (*Messages.errors, RuntimeError)  # the SDK's, when AWS has no credentials

    def __init__(
        self, *, region: str, base_url: str | None, model: str, price: Price, gate: Gate, timeout: httpx2.Timeout
    ) -> None:
        if importlib.util.find_spec("boto3") is None or importlib.util.find_spec("botocore") is None:
            raise GoldsmithError("teacher 'bedrock' needs the extra `bedrock` (boto3): pip install 'goldsmith[bedrock]'")
        client = anthropic.AsyncAnthropicBedrock(aws_region=region, base_url=base_url, max_retries=0, timeout=timeout)
        super().__init__(
            client,
            name="bedrock",
            model=model,
            price=price,
            gate=gate,
            key_setting=CREDENTIALS,
            model_setting="GOLDSMITH_BEDROCK_MODEL",
        )

    def body(self, request: Request) -> dict[str, Any]:
        return {**super().body(request), "anthropic_version": WIRE}

    def headers(self, body: Mapping[str, Any]) -> dict[str, str]:
        return {}

    async def count_tokens(self, request: Request) -> int | None:
        return None

    def failed(self, error: Exception) -> Failed:
        if isinstance(error, RuntimeError):
            if "credentials" not in str(error):
                raise error
            return Failed(GoldsmithError(f"teacher 'bedrock' finds no credentials: set {CREDENTIALS}"), "no", why="key")
        return super().failed(error)
