"""Whether an output is taken: as it came, mended, after one more question, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from service_common.output_contract import OutputContract

from parallel_processor.jobs.piece import Piece, PieceError
from parallel_processor.model.requests import ModelReply, ModelRequest
from parallel_processor.output.asking_again import asked_again
from parallel_processor.output.checking import check

MALFORMED_OUTPUT = "MALFORMED_OUTPUT"


class Acceptance:
    """Judges what models answered."""

    def __init__(self, observe: Callable[[str], None]) -> None:
        """Prepare to judge.

        Args:
            observe: Is told what became of each output that was not right at once: `extracted` from what was
                around it, `asked_again`, `mended` by that, or `malformed` in the end.
        """
        self._observe = observe

    def judge(
        self, reply: ModelReply, contract: OutputContract, request: ModelRequest, *, asked_before: bool
    ) -> ModelReply | ModelRequest | PieceError:
        """Return the reply with clean content, what to ask instead, or why there is no content.

        Args:
            reply: What the model said.
            contract: What that must be like.
            request: What it was asked.
            asked_before: Whether that was the second question already.
        """
        checked = check(reply.text, contract, truncated=reply.truncated)
        if not checked.findings:
            if asked_before:
                self._observe("mended")
            if checked.content == reply.text:
                return reply
            if checked.content != reply.text.strip():
                self._observe("extracted")
            return replace(reply, text=checked.content)
        if not asked_before:
            self._observe("asked_again")
            return asked_again(request, reply.text, findings=checked.findings, contract=contract)
        self._observe("malformed")
        return PieceError(
            MALFORMED_OUTPUT, f"the output broke its contract twice, at last: {'; '.join(checked.findings)}"
        )


def acceptable(piece: Piece, contract: OutputContract | None) -> Piece | None:
    """Return a cached piece, clean; None if it does not meet the contract and must be generated anew.

    An entry's key says nothing of contracts: it may have been made before this one, or for nobody's.
    """
    if contract is None:
        return piece
    checked = check(piece.content, contract, truncated=piece.truncated)
    if checked.findings:
        return None
    return piece if checked.content == piece.content else replace(piece, content=checked.content)
