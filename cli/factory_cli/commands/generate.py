"""`factory generate`: one piece now; the content to stdout, the facts to stderr."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path
from typing import Annotated

import typer
from contentfactory.processor.v1 import processor_pb2 as pb
from google.protobuf.json_format import MessageToDict

from factory_cli import exit_codes
from factory_cli.calls import call_once
from factory_cli.clients import connect
from factory_cli.commands.job_options import Json, Model, Policy, PolicyOption, pairs
from factory_cli.console import messages, print_json
from factory_cli.failures import CommandError
from factory_cli.progress import figures
from factory_cli.settings import Settings, with_settings
from factory_cli.submission.demands import contract_from
from factory_cli.writing import write_piece

_DEFAULT_MAX_TOKENS = 512
_TIMEOUT_S = 600.0


@with_settings
def generate(
    settings: Settings,
    template: Annotated[
        str, typer.Argument(help="A template's id, for example faq; or use --prompt.", show_default=False)
    ] = "",
    *,
    var: Annotated[list[str] | None, typer.Option(help="Variable as name=value; may be repeated.")] = None,
    prompt: Annotated[str, typer.Option(help="A prompt taken literally, instead of a template.")] = "",
    system: Annotated[str, typer.Option(help="System message beside --prompt.")] = "",
    model: Model = "",
    max_tokens: Annotated[
        int, typer.Option(min=0, help="The most tokens; 512 with --prompt, else as the template says.")
    ] = 0,
    variation: Annotated[int, typer.Option(min=0, help="Another number is another piece.")] = 0,
    cache_policy: PolicyOption = Policy.USE,
    max_cost_micros: Annotated[
        int, typer.Option(min=0, help="Refuse if it might cost more millionths of a dollar; 0: no limit.")
    ] = 0,
    fallback: Annotated[
        list[str] | None, typer.Option(help="A model to ask when its own cannot be had; may be repeated.")
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Print the text as the model writes it.")] = False,
    contract: Annotated[
        Path | None,
        typer.Option(help="JSON file with an output contract, in place of the template's.", exists=True),
    ] = None,
    handler: Annotated[
        list[str] | None,
        typer.Option(help="Handler the output goes through, in place of the template's; may be repeated."),
    ] = None,
    json: Json = False,
) -> int:
    """Generate one piece: `factory generate faq --var topic="Tides"`, or `factory generate --prompt TEXT`."""
    if bool(template) == bool(prompt):
        raise CommandError(
            'give a template or --prompt TEXT, for example: factory generate faq --var topic="Tides"'
        )
    if prompt and var:
        raise CommandError("--var belongs to a template; a prompt is taken literally")
    if stream and json:
        raise CommandError("--stream prints text as it comes and --json one value at the end; choose one")
    spec = pb.PieceSpec(
        model=model,
        variation=variation,
        cache_policy=cache_policy.in_contract,
        fallback_models=fallback or [],
    )
    spec.handlers.extend(handler or [])
    if contract is not None:
        spec.output_contract.CopyFrom(contract_from(contract))
    if prompt:
        spec.raw.CopyFrom(_raw(prompt, system, max_tokens))
    else:
        spec.template_id = template
        spec.max_tokens = max_tokens
        spec.variables.update(pairs(var or [], option="--var"))
    if stream:
        return asyncio.run(
            _stream(settings, pb.StreamGenerateRequest(spec=spec, max_cost_micros=max_cost_micros))
        )
    request = pb.GenerateRequest(spec=spec, request_id=uuid.uuid4().hex, max_cost_micros=max_cost_micros)
    return asyncio.run(_generate(settings, request, json=json))


def _raw(prompt: str, system: str, max_tokens: int) -> pb.RawPrompt:
    messages_ = [pb.ChatMessage(role=pb.ChatMessage.ROLE_SYSTEM, content=system)] if system else []
    messages_.append(pb.ChatMessage(role=pb.ChatMessage.ROLE_USER, content=prompt))
    return pb.RawPrompt(messages=messages_, max_tokens=max_tokens or _DEFAULT_MAX_TOKENS)


async def _generate(settings: Settings, request: pb.GenerateRequest, *, json: bool) -> int:
    async with connect(settings.endpoints, settings.credentials) as clients:
        answer: pb.GenerateResponse = await call_once(
            clients.processor, lambda stub: stub.Generate, request, timeout_s=_TIMEOUT_S
        )
    if json:
        print_json(MessageToDict(answer.piece, preserving_proto_field_name=True))
    else:
        print(answer.piece.content)  # noqa: T201 - the content that was asked for
        messages().print(_facts(answer.piece), style="dim", markup=False, soft_wrap=True)
    return exit_codes.OK


async def _stream(settings: Settings, request: pb.StreamGenerateRequest) -> int:
    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    def anew() -> None:
        write("\n")
        messages().print("the text broke off and begins anew", style="yellow", markup=False)

    async with connect(settings.endpoints, settings.credentials) as clients:
        piece = await write_piece(clients.processor, request, write=write, on_anew=anew, timeout_s=_TIMEOUT_S)
    write("\n")
    messages().print(_facts(piece), style="dim", markup=False, soft_wrap=True)
    return exit_codes.OK


def _facts(piece: pb.Piece) -> str:
    version = f"{piece.template_id}@{piece.template_version}" if piece.template_id else "prompt"
    how = "cached" if piece.cached else figures.duration(piece.generate_duration.ToTimedelta())
    if piece.HasField("similarity"):
        how = f"the answer to a prompt that says the same, similarity {piece.similarity:.2f}"
    parts = [
        piece.model,
        version,
        how,
        f"{piece.prompt_tokens:,} + {piece.output_tokens:,} tokens",
        figures.money(piece.cost_micros),
        f"quality {figures.quality(piece.quality if piece.HasField('quality') else None)}",
    ]
    if piece.truncated:
        parts.append("cut off at max_tokens")
    return " · ".join(parts)
