"""`factory retry`: run a job's items without content again."""

from __future__ import annotations

import asyncio

from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli import exit_codes
from factory_cli.commands.changing import call_processor
from factory_cli.commands.job_options import Json
from factory_cli.commands.watch import JobId
from factory_cli.console import messages, print_json
from factory_cli.progress.convert import from_processor
from factory_cli.progress.snapshot_json import as_json
from factory_cli.settings import Settings, with_settings


@with_settings
def retry(settings: Settings, job_id: JobId, json: Json = False) -> int:
    """Run the items of a job again that ended without content; what has content is not paid again."""
    request = pb.RetryFailedItemsRequest(job_id=job_id)
    answer: pb.RetryFailedItemsResponse = asyncio.run(
        call_processor(settings, lambda stub: stub.RetryFailedItems, request)
    )
    if json:
        print_json({**as_json(from_processor(answer.job)), "retried": answer.items})
    elif answer.items:
        messages().print(
            f"{answer.items} items run again; watch them with: factory watch {job_id}", soft_wrap=True
        )
    else:
        messages().print("every item has content or is still to come; nothing to retry", soft_wrap=True)
    return exit_codes.OK
