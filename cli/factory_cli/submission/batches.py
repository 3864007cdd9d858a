"""Cuts a job into calls, bounded in items and bytes; a topic's group stays together if it fits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from contentfactory.processor.v1 import processor_pb2 as pb

from factory_cli.submission.demands import contract_message
from factory_cli.submission.items import Item
from factory_cli.submission.topic import OUTLINE

MAX_ITEMS = 500
MAX_BYTES = 3 * 1024 * 1024
_ITEM_OVERHEAD_BYTES = 8  # tag and length of an item within the request


def to_message(item: Item) -> pb.JobItem:
    """Write an item as the contract says it."""
    spec = pb.PieceSpec(content_type=item.content_type, handlers=item.handlers)
    if item.prompt:
        said = pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content=item.prompt)
        spec.raw.CopyFrom(pb.RawPrompt(messages=[said], max_tokens=item.max_tokens))
    else:
        spec.template_id = item.content_type
        spec.variables.update(item.variables)
    if item.output_contract is not None:
        spec.output_contract.CopyFrom(contract_message(item.output_contract))
    message = pb.JobItem(item_id=item.item_id, spec=spec, labels=dict(item.labels))
    if item.depends_on:
        message.depends_on.add(item_id=item.depends_on, variable=OUTLINE)
    return message


def in_batches(
    groups: Iterable[list[Item]], *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES
) -> Iterator[list[pb.JobItem]]:
    """Yield the items of each call, in order."""
    batch: list[pb.JobItem] = []
    size = 0
    for group in groups:
        for chunk, chunk_size in _chunks(group, max_items, max_bytes):
            if batch and (len(batch) + len(chunk) > max_items or size + chunk_size > max_bytes):
                yield batch
                batch, size = [], 0
            batch = [*batch, *chunk]
            size += chunk_size
    if batch:
        yield batch


def _chunks(group: list[Item], max_items: int, max_bytes: int) -> Iterator[tuple[list[pb.JobItem], int]]:
    """Yield a group whole, or, when it fits no call, in pieces that do."""
    chunk: list[pb.JobItem] = []
    size = 0
    for item in group:
        message = to_message(item)
        item_size = message.ByteSize() + _ITEM_OVERHEAD_BYTES
        if chunk and (len(chunk) == max_items or size + item_size > max_bytes):
            yield chunk, size
            chunk, size = [], 0
        chunk.append(message)
        size += item_size
    if chunk:
        yield chunk, size
