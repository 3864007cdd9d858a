"""What came of an order: the piece for its owner, and the report for the optimizer."""

from __future__ import annotations

from dataclasses import replace

from parallel_processor.jobs.piece import Piece, PieceSpec
from parallel_processor.running.calls import Answer
from parallel_processor.running.order import Order
from parallel_processor.running.ports import OutcomeReport


def generated(order: Order, answer: Answer, quality: float | None) -> Piece:
    """Return the piece an answer makes."""
    reply = answer.reply
    return Piece(
        content=reply.text,
        content_type=order.prompt.content_type,
        model=order.request.model,
        template_id=order.prompt.template_id,
        template_version=order.prompt.template_version,
        cache_key=order.key,
        cached=False,
        truncated=reply.truncated,
        prompt_tokens=reply.prompt_tokens,
        output_tokens=reply.output_tokens,
        cost_micros=answer.usage.cost_micros,
        quality=quality,
        generate_s=reply.latency_s,
    )


def report(order: Order, answer: Answer, *, succeeded: bool = True) -> OutcomeReport:
    """Return what the optimizer is told of an answer; of one that failed, without its text."""
    reply = answer.reply
    return OutcomeReport(
        decision_id=order.prompt.decision_id,
        spec=order.spec if order.prompt.decision_id else _pinned(order),
        succeeded=succeeded,
        truncated=reply.truncated,
        output=reply.text if succeeded else "",
        subjects=tuple(
            order.spec.variables[name][:1024] for name in ("topic", "title") if name in order.spec.variables
        ),
        prompt_tokens=reply.prompt_tokens,
        output_tokens=reply.output_tokens,
        cost_micros=answer.usage.cost_micros,
        latency_s=reply.latency_s,
    )


def _pinned(order: Order) -> PieceSpec:
    """Name the version a prompt was rendered with, so that the optimizer can say later what it decided."""
    return replace(order.spec, template_version=order.prompt.template_version)
