"""What the processor reads from its environment."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from service_common.config import CommonSettings, Problem
from service_common.rpc.targets import parse_targets

from parallel_processor.queueing.tenant_weights import parse_tenant_weights


class Settings(CommonSettings):
    """The processor's settings; the environment variable of a field is its name in upper case."""

    port: int = Field(50053, ge=0, le=65535, description="RPC port; 0 takes any free one.")
    metrics_port: int = Field(
        9103, ge=0, le=65535, description="Port of the Prometheus endpoint; 0 takes any free one."
    )
    store_url: str = Field(
        "sqlite:///.factory/processor.db",
        pattern=r"^(sqlite|firestore|memory)://",
        description="Where jobs, items, results and money live: sqlite:///PATH, firestore://PROJECT/DATABASE "
        "or memory://.",
    )
    cache_targets: str = Field(
        "127.0.0.1:50051", description="Cache replicas: host:port,host:port or dns:///headless-name:port."
    )
    optimizer_targets: str = Field("127.0.0.1:50052", description="Optimizer replicas, likewise.")
    tracker_targets: str = Field("127.0.0.1:50054", description="Tracker replicas, likewise.")
    processor_model_url: str = Field(
        "http://127.0.0.1:8089/v1",
        description="Base URL of an OpenAI-compatible model endpoint, as in http://127.0.0.1:8089/v1.",
    )
    processor_model: str = Field(
        "smollm2-135m-instruct",
        min_length=1,
        description="Model of items for which nobody names one, as the endpoint calls it.",
    )
    processor_model_api_key: SecretStr | None = Field(
        None, description="Bearer token for the model endpoint."
    )
    processor_endpoints_file: Path | None = Field(
        None,
        description="JSON object from model to {url, api_key_env, max_tokens_field}, for models that are not "
        "at PROCESSOR_MODEL_URL; api_key_env names the variable that holds the key. Unset: all are there.",
    )
    processor_model_timeout_s: float = Field(
        120, gt=0, le=3600, description="The longest a model call may take, in seconds."
    )
    processor_max_output_tokens: int | None = Field(
        None,
        ge=1,
        description="The most tokens the endpoint is asked for in one piece; unset: as the template says.",
    )
    processor_prices_file: Path | None = Field(
        None,
        description="JSON object from model to {prompt_micros_per_million, output_micros_per_million}; "
        "* prices every model it does not name, which else are refused. Unset: every model costs nothing.",
    )
    processor_max_concurrency: int = Field(
        64,
        ge=1,
        le=4096,
        description="The most model calls at a time; how many an endpoint bears is learned, by model.",
    )
    processor_tenant_weights: str = Field(
        "",
        description="Shares of tenants in the model's tokens while several have a backlog, as in "
        "acme=3,globex=0.5; that of tenants not named is 1.",
    )
    processor_memory_high: float = Field(
        0.9,
        gt=0,
        le=1,
        description="The part of memory in use, of the container where it is limited, above which fewer "
        "model calls are made.",
    )
    processor_cpu_wait_high: float = Field(
        0.8,
        gt=0,
        le=1,
        description="The part of the time in which this process wants a CPU and gets none, above which fewer "
        "model calls are made.",
    )
    processor_max_attempts: int = Field(
        4, ge=1, le=20, description="Failed model calls that speak against an item before it fails."
    )
    processor_hedge_ratio: float = Field(
        0,
        ge=0,
        le=0.2,
        description="The most second calls for interactive pieces that are slow to begin, as a share of all "
        "their calls; each may cost as much as the first. 0: none.",
    )
    processor_lease_s: float = Field(
        15, ge=1, le=600, description="Seconds after which a dead worker's shards are taken over."
    )
    processor_poll_s: float = Field(
        0.5,
        gt=0,
        le=60,
        description="Seconds between looks for work of other processes, unless the store tells of it.",
    )
    processor_commit_interval_s: float | None = Field(
        None,
        ge=0,
        le=10,
        description="The longest a result waits for company before it is committed. "
        "Unset: 0.25, on Firestore 1.",
    )
    processor_announce_ahead: int | None = Field(
        None,
        ge=0,
        le=4096,
        description="The most model calls that are announced, with the commits of others, before they come, "
        "and so need no commit of their own; after a crash they count as uncertain spend though never made. "
        "Unset: 0, on Firestore PROCESSOR_MAX_CONCURRENCY.",
    )
    processor_settle_interval_s: float | None = Field(
        None,
        ge=0,
        le=60,
        description="The least time between two writes of one job's totals. Unset: 1, on Firestore 1.5.",
    )
    processor_patience_s: float = Field(
        600, gt=0, description="Seconds an item waits for equal content that someone else generates."
    )
    processor_urgent_patience_s: float = Field(
        10,
        gt=0,
        description="The same for urgent jobs and interactive calls, which then generate without a lease.",
    )
    processor_score_wait_s: float = Field(
        0.25, ge=0, le=10, description="The longest a piece waits for its quality score."
    )
    processor_handlers: str = Field(
        "",
        description="Functions that register handlers of yours, as package.module:function, separated by "
        "commas.",
    )
    processor_handler_threads: int = Field(
        4, ge=1, le=256, description="The most blocking handlers that run at a time."
    )
    processor_handler_timeout_s: float = Field(
        30, gt=0, le=3600, description="The longest a handler may take that was registered without a limit."
    )
    processor_cache_truncated: bool = Field(
        default=False,
        description="1 caches texts that were cut at their limit of tokens too; otherwise only those who "
        "wait for them get them.",
    )

    processor_retention_d: float | None = Field(
        None,
        gt=0,
        le=36_500,
        description="Days after which a finished job is deleted, with its results and content versions. "
        "Unset: never.",
    )

    def problems(self) -> Iterable[Problem]:
        """Yield what is wrong between fields that are each right."""
        yield from super().problems()
        for name in ("cache_targets", "optimizer_targets", "tracker_targets"):
            try:
                parse_targets(getattr(self, name))
            except ValueError as error:
                yield Problem(name.upper(), str(error))
        try:
            parse_tenant_weights(self.processor_tenant_weights)
        except ValueError as error:
            yield Problem("PROCESSOR_TENANT_WEIGHTS", str(error))
        if urlsplit(self.processor_model_url).scheme not in ("http", "https"):
            yield Problem("PROCESSOR_MODEL_URL", "must be an http:// or https:// URL")
