"""The local processes of one `factory up` or `factory run`: planned, started, recorded, stopped."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from factory_cli.endpoints import Endpoints
from factory_cli.supervision.record import ProcessRecord, RecordFile
from factory_cli.supervision.supervisor import Change, Phase, Supervisor
from factory_cli.supervision.survey import Plan, make_plan

SUPERVISOR = "supervisor"


class Fleet:
    """Everything that runs here for us; an async context manager that stops what it started.

    Attributes:
        plan: What ran already and what is started; set by `start`.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        data_dir: Path,
        environ: Mapping[str, str],
        on_change: Callable[[Change], None],
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._endpoints = endpoints
        self._data_dir = data_dir
        self._environ = environ
        self._on_change = on_change
        self._credentials = credentials
        self._record_file = RecordFile(data_dir)
        self._records: dict[str, ProcessRecord] = {}
        self._supervisor: Supervisor | None = None
        self.plan = Plan({}, ())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start what is not running and wait until it serves.

        Raises:
            CommandError: If something stands in the way or does not start.
        """
        self.plan = await make_plan(
            self._endpoints,
            data_dir=self._data_dir,
            environ=self._environ,
            credentials=self._credentials,
        )
        for name, address in self.plan.running.items():
            self._on_change(Change(name, Phase.EXTERNAL, address))
        if not self.plan.to_start:
            return
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._records = self._record_file.alive()
        self._remember(SUPERVISOR, os.getpid())
        self._supervisor = Supervisor(self.plan.to_start, on_change=self._changed)
        await self._supervisor.start()

    async def stop(self) -> None:
        """Drain and stop what was started here, and nothing else."""
        if self._supervisor is None:
            return
        supervisor, self._supervisor = self._supervisor, None
        await supervisor.stop()
        left = {name: each for name, each in self._record_file.alive().items() if each.pid != os.getpid()}
        if left:
            self._record_file.write(left)
        else:
            self._record_file.remove()

    def _changed(self, change: Change) -> None:
        if change.pid is not None and change.phase is Phase.STARTING:
            self._remember(change.name, change.pid)
        self._on_change(change)

    def _remember(self, name: str, pid: int) -> None:
        ranks = {spec.name: spec.stop_rank for spec, _ in self.plan.to_start}
        record = ProcessRecord.of(name, pid, ranks.get(name, 0))
        if record is not None:
            self._records[name] = record
            self._record_file.write(self._records)
