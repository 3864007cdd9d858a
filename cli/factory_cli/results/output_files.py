"""Where results go: `<out>/<topic-slug>/<content_type>.md`; whole or not at all, never outside `<out>`."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path, PurePosixPath

from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli import exit_codes
from factory_cli.failures import CommandError
from factory_cli.results.front_matter import to_markdown

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")


def relative_path(item_id: str) -> PurePosixPath:
    """Return an item's file, relative to the output folder; ids of other clients become safe names."""
    parts = [_UNSAFE.sub("_", part) for part in item_id.split("/")]
    safe = [part.lstrip(".") or "_" for part in parts]
    if safe != item_id.split("/"):  # what was lost may have told it from another
        safe[-1] += "-" + hashlib.sha256(item_id.encode()).hexdigest()[:8]
    return PurePosixPath(*safe[:-1], f"{safe[-1]}.md")


class OutputFolder:
    """A folder that receives results.

    Attributes:
        path: Where it is.
        written: Files written so far.
    """

    def __init__(self, path: Path, *, job_id: str) -> None:
        self.path = path
        self.written: list[Path] = []
        self._job_id = job_id

    def write(self, result: pb.ItemResult) -> None:
        """Write a result that has content; one that has none leaves no file.

        Raises:
            CommandError: If it cannot be written.
        """
        if result.state != pb.ITEM_STATE_SUCCEEDED:
            return
        target = self.path / relative_path(result.item_id)
        draft = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(to_markdown(result, job_id=self._job_id), "utf-8")
            draft.replace(target)
        except OSError as error:
            raise CommandError(
                f"{target} cannot be written: {error.strerror}", exit_codes.UNREACHABLE
            ) from error
        self.written.append(target)
