"""`factory resume`: let a paused job go on."""

from __future__ import annotations

from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli.commands.changing import change_job
from factory_cli.commands.job_options import Json
from factory_cli.commands.watch import JobId
from factory_cli.settings import Settings, with_settings


@with_settings
def resume(settings: Settings, job_id: JobId, json: Json = False) -> int:
    """Let a paused job go on, whatever it was paused for; what stopped it may stop it again."""
    request = pb.ResumeJobRequest(job_id=job_id)
    return change_job(settings, lambda stub: stub.ResumeJob, request, json=json)
