"""A piece written out while the model writes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from contentfactory.processor.v1 import processor_pb2 as pb
from service_common.errors import ServiceError
from service_common.rpc.client import ClientPool

from factory_cli.failures import from_service_error


async def write_piece(
    processor: ClientPool[Any],
    request: pb.StreamGenerateRequest,
    *,
    write: Callable[[str], None],
    on_anew: Callable[[], None],
    timeout_s: float,
) -> pb.Piece:
    """Write a piece's text as it comes.

    Args:
        processor: Who generates it.
        request: What to generate.
        write: Writes a part of the text.
        on_anew: Is told that what was written is void, before the text begins anew.
        timeout_s: The longest it may take.

    Returns:
        The piece, its content left empty.

    Raises:
        CommandError: As the processor answered; what was written is void then.
    """
    piece, written = pb.Piece(), False
    try:
        stream = processor.stream(lambda stub: stub.StreamGenerate, request, timeout_s=timeout_s)
        async with aclosing(stream) as frames:
            async for frame in frames:
                kind = frame.WhichOneof("frame")
                if kind == "piece":
                    piece = frame.piece
                    continue
                if kind == "anew" and written:
                    on_anew()
                write(frame.anew or frame.text)
                written = True
    except ServiceError as error:
        raise from_service_error(error, service="processor") from error
    return piece
