"""`factory pause`: let a job begin nothing new."""

from __future__ import annotations

from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli.commands.changing import change_job
from factory_cli.commands.job_options import Json
from factory_cli.commands.watch import JobId
from factory_cli.settings import Settings, with_settings


@with_settings
def pause(settings: Settings, job_id: JobId, json: Json = False) -> int:
    """Pause a job: calls in flight come back and count, nothing new is begun until `factory resume`."""
    request = pb.PauseJobRequest(job_id=job_id)
    return change_job(settings, lambda stub: stub.PauseJob, request, json=json)
