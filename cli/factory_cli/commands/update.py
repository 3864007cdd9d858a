"""`factory update`: change a job's title, labels, priority or terms, also while it runs."""

from __future__ import annotations

from contentfactory.processor.v1 import processor_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from factory_cli.commands import job_options as options
from factory_cli.commands import term_options as terms
from factory_cli.commands.changing import change_job
from factory_cli.commands.job_options import Json, Priority
from factory_cli.commands.watch import JobId
from factory_cli.failures import CommandError
from factory_cli.settings import Settings, with_settings


@with_settings
def update(
    settings: Settings,
    job_id: JobId,
    *,
    name: options.Name = "",
    priority: options.NewPriority = None,
    label: options.Labels = None,
    weight: terms.Weight = None,
    max_cost: terms.MaxCost = None,
    deadline: terms.Deadline = None,
    max_failed: terms.MaxFailed = None,
    fallback: terms.Fallback = None,
    json: Json = False,
) -> int:
    """Change what is given of a job; its items follow within seconds. Labels replace all earlier ones."""
    agreed, paths = terms.job_terms(
        weight=weight, max_cost=max_cost, deadline=deadline, max_failed=max_failed, fallback=fallback
    )
    job = pb.Job(job_id=job_id, terms=agreed)
    if name:
        job.display_name = name
        paths.append("display_name")
    if priority is not None:
        job.priority = _priority(priority)
        paths.append("priority")
    if label is not None:
        job.labels.update(options.pairs(label, option="--label"))
        paths.append("labels")
    if not paths:
        raise CommandError("say what to change, for example --priority urgent; see factory update --help")
    request = pb.UpdateJobRequest(job=job, update_mask=FieldMask(paths=paths))
    return change_job(settings, lambda stub: stub.UpdateJob, request, json=json)


def _priority(priority: Priority) -> pb.JobPriority.ValueType:
    return pb.JobPriority.Value(f"JOB_PRIORITY_{priority.value.upper()}")
