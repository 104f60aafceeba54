"""Whatever is sent, the answer to a mistake is a problem document that says what is wrong; never a 500."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from httpx import Response
from psycopg.types.json import Jsonb
from starlette.testclient import TestClient

from api.app import create_app
from goldsmith.db import Connection
from goldsmith.errors import GoldsmithError
from goldsmith.settings import Settings
from tests.api_client import Problem, job_in, problem_of
