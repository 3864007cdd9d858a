"""What contracts and handlers leave when a processor stops, dies, or has lost its optimizer."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

from contentfactory.processor.v1 import processor_pb2 as pb

from tests.integration.processor.conftest import Client, a_factory, configured, raw_item, tokens_file
from tests.integration.processor.test_output_contracts import (
    BAD,
    GOOD,
    OURS,
    Ours,
    new_template,
    says,
    unique,
)
from tests.support.backends import Database, on_durable_stores
from tests.support.mock_process import mock_endpoint
from tests.support.processes import ServiceProcess, running_service


def _client(stack: ExitStack, processor: ServiceProcess) -> Client:
    client = Client(processor.address, tenant="acme")
    stack.enter_context(client.channel)
    return client


@on_durable_stores
def test_sigterm_lets_paid_pieces_through_their_handlers(tmp_path: Path, database: Database) -> None:
    """With no cache to keep them, pieces in handlers when the processor stops are committed all the same."""
    (tmp_path / "our_handlers.py").write_text(OURS)
    with ExitStack() as stack:
        mock = stack.enter_context(mock_endpoint())
        environment = configured(tmp_path, mock) | database.env("processor")
        environment |= {"PROCESSOR_HANDLERS": "our_handlers:register", "PROCESSOR_HANDLER_THREADS": "2"}
        first = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = _client(stack, first)
        job_id = client.new_job([raw_item(f"i{n}", handlers=["slow"]) for n in range(6)])
        client.start(job_id)
        while mock.counts()["completions"] < 6:
            pass
        assert first.stop() == 0
        again = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = _client(stack, again)
        results = client.finish(job_id)
        job, counts = client.job(job_id), mock.counts()
    assert len(results) == job.counts.succeeded == 6
    assert counts["requests"] == job.usage.model_calls == 6
    assert (job.usage.uncertain_calls, job.usage.uncertain_spend_micros) == (0, 0)


@on_durable_stores
def test_a_kill_between_the_answer_and_the_handlers_end_pays_once(tmp_path: Path, database: Database) -> None:
    """The next processor finds the paid answer in the cache and sends it through the handlers again."""
    (tmp_path / "our_handlers.py").write_text(OURS)
    auth = {"AUTH_TOKENS_FILE": str(tokens_file(tmp_path))}
    with ExitStack() as stack:
        mock = stack.enter_context(mock_endpoint())
        cache = stack.enter_context(
            running_service("cache", auth | database.env("cache"), directory=tmp_path)
        )
        environment = configured(tmp_path, mock, neighbours={"cache": cache}) | database.env("processor")
        environment |= {"PROCESSOR_HANDLERS": "our_handlers:register", "PROCESSOR_HANDLER_THREADS": "1"}
        first = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client, words = _client(stack, first), unique()
        job_id = client.new_job([raw_item(f"i{n}", f"{words} {n}", handlers=["slow"]) for n in range(6)])
        client.start(job_id)
        while client.job(job_id).counts.succeeded < 1:
            pass
        first.kill()
        again = stack.enter_context(running_service("processor", environment, directory=tmp_path))
        client = _client(stack, again)
        results = client.finish(job_id)
        job, counts = client.job(job_id), mock.counts()
    assert len(results) == job.counts.succeeded == 6
    assert counts["requests"] == job.usage.model_calls == 6
    assert job.usage.uncertain_calls == 0


@on_durable_stores
def test_a_templates_demands_are_known_while_the_optimizer_is_away(database: Database) -> None:
    """A processor restarted without an optimizer holds pieces to the contract it has seen."""
    directory = database.directory
    (directory / "our_handlers.py").write_text(OURS)
    own = {"PROCESSOR_HANDLERS": "our_handlers:register"}
    auth = {"AUTH_TOKENS_FILE": str(tokens_file(directory))}
    good, bad = uuid4().hex, uuid4().hex
    with ExitStack() as stack:
        environment = auth | database.env("optimizer")
        optimizer = stack.enter_context(running_service("optimizer", environment, directory=directory))
        own["OPTIMIZER_TARGETS"] = optimizer.address
        running = stack.enter_context(a_factory(database, **own))
        template_id = new_template(Ours(running, optimizer.address), "cards of")
        says(running, "cards of", GOOD)
        _, seen = running.client().run([_item(template_id, good)])
    with a_factory(database, **own) as alone:
        says(alone, good, GOOD)
        _, handled = alone.client().run([_item(template_id, good)])
        says(alone, bad, BAD)
        _, refused = alone.client().run([_item(template_id, bad)])
    assert handled["a"].piece.content == seen["a"].piece.content != GOOD
    assert refused["a"].error.reason == "MALFORMED_OUTPUT"


def _item(template_id: str, topic: str) -> pb.JobItem:
    return pb.JobItem(item_id="a", spec=pb.PieceSpec(template_id=template_id, variables={"topic": topic}))
