"""Templates through the wire: life, idempotence, isolation of tenants and every error."""

from __future__ import annotations

import asyncio

import pytest
from contentfactory.optimizer.v1 import optimizer_pb2 as pb
from contentfactory.optimizer.v1 import optimizer_pb2_grpc as rpc
from service_common.errors import ErrorKind

from tests.integration.optimizer.conftest import Running, Start, error_of, source
from tests.support.backends import on_durable_stores

BUILT_IN = [
    "detailed_reading",
    "faq",
    "flashcards",
    "one_pager",
    "outline",
    "podcast_script",
    "reading_questions",
    "study_guide",
]


def create(
    template_id: str = "haiku", text: str = "On {{ topic }}", request_id: str = ""
) -> pb.CreateTemplateRequest:
    """Return a request that creates a template."""
    return pb.CreateTemplateRequest(template_id=template_id, source=source(text), request_id=request_id)


def add(
    template_id: str = "haiku", text: str = "More {{ topic }}", request_id: str = ""
) -> pb.CreateTemplateVersionRequest:
    """Return a request that adds a version."""
    return pb.CreateTemplateVersionRequest(
        template_id=template_id, source=source(text), request_id=request_id
    )


def activate(version: int, template_id: str = "haiku") -> pb.ActivateVersionRequest:
    """Return a request that activates a version."""
    return pb.ActivateVersionRequest(template_id=template_id, version=version)


async def test_a_template_from_birth_to_death(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Create, add, activate, roll back, delete; each answer shows the state reached."""
    created = await client.CreateTemplate(create())
    assert created.template.active_version == created.version.version == 1
    assert created.version.create_user == "ann"
    assert created.version.source.variables[0].max_bytes == 65_536
    added = await client.CreateTemplateVersion(add())
    assert added.version.version == 2
    activated = await client.ActivateVersion(activate(2))
    assert (activated.template.active_version, activated.template.latest_version) == (2, 2)
    back = await client.RollbackTemplate(pb.RollbackTemplateRequest(template_id="haiku"))
    assert [each.version for each in back.template.activations] == [1, 2, 1]
    error = await error_of(client.RollbackTemplate(pb.RollbackTemplateRequest(template_id="haiku")))
    assert (error.kind, error.reason) == (ErrorKind.FAILED_PRECONDITION, "NOTHING_TO_ROLL_BACK")
    await client.DeleteTemplate(pb.DeleteTemplateRequest(template_id="haiku"))
    error = await error_of(client.GetTemplate(pb.GetTemplateRequest(template_id="haiku")))
    assert (error.kind, error.reason) == (ErrorKind.NOT_FOUND, "TEMPLATE_NOT_FOUND")


async def test_a_template_created_again_starts_over(client: rpc.OptimizerServiceAsyncStub) -> None:
    """After deletion the id is free, numbers start at 1 and nothing of the old one shows."""
    await client.CreateTemplate(create(text="old {{ topic }}"))
    await client.CreateTemplateVersion(add())
    await client.DeleteTemplate(pb.DeleteTemplateRequest(template_id="haiku"))
    await client.CreateTemplate(create(text="new {{ topic }}"))
    listed = await client.ListTemplateVersions(pb.ListTemplateVersionsRequest(template_id="haiku"))
    assert [each.source.messages[0].content for each in listed.versions] == ["new {{ topic }}"]
    made = await client.Optimize(pb.OptimizeRequest(template_id="haiku", variables={"topic": "x"}))
    assert made.messages[0].content == "new x"


async def test_adding_to_a_built_in_template_makes_it_the_tenants_own(
    running: Running, client: rpc.OptimizerServiceAsyncStub
) -> None:
    """Version 1 is the built-in one, others see no change, and deletion shows the built-in one again."""
    built_in = await client.GetTemplateVersion(pb.GetTemplateVersionRequest(template_id="faq"))
    added = await client.CreateTemplateVersion(add("faq", "Ask about {{ topic }}"))
    assert added.version.version == 2
    own = await client.GetTemplate(pb.GetTemplateRequest(template_id="faq"))
    assert (own.template.built_in, own.template.active_version) == (False, 1)
    first = await client.GetTemplateVersion(pb.GetTemplateVersionRequest(template_id="faq", version=1))
    assert first.version.source == built_in.version.source
    await client.ActivateVersion(activate(2, "faq"))
    request = pb.OptimizeRequest(template_id="faq", variables={"topic": "x"})
    assert (await client.Optimize(request)).messages[0].content == "Ask about x"
    other = await running.client("umbrella")
    assert (await other.GetTemplate(pb.GetTemplateRequest(template_id="faq"))).template.built_in
    assert (await other.Optimize(request)).messages[0].content != "Ask about x"
    await client.DeleteTemplate(pb.DeleteTemplateRequest(template_id="faq"))
    assert (await client.GetTemplate(pb.GetTemplateRequest(template_id="faq"))).template.built_in
    assert (await client.Optimize(request)).version == built_in.version.version


async def test_a_built_in_template_cannot_be_changed(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Activation, rollback and deletion are refused with their own reason."""
    for call in (
        client.ActivateVersion(activate(1, "faq")),
        client.RollbackTemplate(pb.RollbackTemplateRequest(template_id="faq")),
        client.DeleteTemplate(pb.DeleteTemplateRequest(template_id="faq")),
    ):
        error = await error_of(call)
        assert (error.kind, error.reason) == (ErrorKind.FAILED_PRECONDITION, "TEMPLATE_BUILT_IN")


async def test_what_does_not_exist_is_not_found(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Unknown templates and versions, in every RPC that names one."""
    missing, version = "nothing", 7
    for call in (
        client.GetTemplate(pb.GetTemplateRequest(template_id=missing)),
        client.DeleteTemplate(pb.DeleteTemplateRequest(template_id=missing)),
        client.CreateTemplateVersion(add(missing)),
        client.GetTemplateVersion(pb.GetTemplateVersionRequest(template_id=missing)),
        client.ListTemplateVersions(pb.ListTemplateVersionsRequest(template_id=missing)),
        client.ActivateVersion(activate(1, missing)),
        client.RollbackTemplate(pb.RollbackTemplateRequest(template_id=missing)),
        client.Optimize(pb.OptimizeRequest(template_id=missing)),
    ):
        assert (await error_of(call)).reason == "TEMPLATE_NOT_FOUND"
    await client.CreateTemplate(create())
    for template_id in ("haiku", "faq"):
        for call in (
            client.GetTemplateVersion(pb.GetTemplateVersionRequest(template_id=template_id, version=version)),
            client.Optimize(pb.OptimizeRequest(template_id=template_id, version=version)),
        ):
            assert (await error_of(call)).reason == "VERSION_NOT_FOUND"
    assert (await error_of(client.ActivateVersion(activate(version)))).reason == "VERSION_NOT_FOUND"


async def test_a_repeated_creation_answers_the_same_and_creates_once(
    client: rpc.OptimizerServiceAsyncStub,
) -> None:
    """With a request_id the first answer returns; with another body it is refused."""
    first = await client.CreateTemplate(create(request_id="r1"))
    assert await client.CreateTemplate(create(request_id="r1")) == first
    error = await error_of(client.CreateTemplate(create(text="Else {{ topic }}", request_id="r1")))
    assert (error.kind, error.reason) == (ErrorKind.ALREADY_EXISTS, "REQUEST_ID_REUSED")
    assert (await error_of(client.CreateTemplate(create()))).reason == "TEMPLATE_EXISTS"
    one = await client.CreateTemplateVersion(add(request_id="r1"))
    assert await client.CreateTemplateVersion(add(request_id="r1")) == one
    template = (await client.GetTemplate(pb.GetTemplateRequest(template_id="haiku"))).template
    assert template.latest_version == 2


@on_durable_stores
async def test_concurrent_versions_get_distinct_numbers(start: Start) -> None:
    """Also through two optimizers on one store."""
    one, two = [await (await start()).client() for _ in range(2)]
    await one.CreateTemplate(create())
    answers = await asyncio.gather(
        *(
            (one, two)[number % 2].CreateTemplateVersion(add(text=f"{number} {{{{ topic }}}}"))
            for number in range(20)
        )
    )
    assert sorted(each.version.version for each in answers) == list(range(2, 22))


async def test_concurrent_repeats_create_once(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Equal requests at the same time get equal answers."""
    answers = await asyncio.gather(*(client.CreateTemplate(create(request_id="r")) for _ in range(8)))
    assert all(each == answers[0] for each in answers)


async def test_templates_are_listed_by_id_in_pages(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Own and built-in ones together, replaced ones once, every page size giving the same list."""
    for name in ("aaa", "faq", "zzz", "mmm"):
        await client.CreateTemplate(create(name))
    expected = sorted({*BUILT_IN, "aaa", "mmm", "zzz"})
    for size in (1, 2, 3, 50):
        seen: list[str] = []
        token = ""
        while True:
            page = await client.ListTemplates(pb.ListTemplatesRequest(page_size=size, page_token=token))
            assert len(page.templates) <= size
            seen += [each.template_id for each in page.templates]
            token = page.next_page_token
            if not token:
                break
        assert seen == expected


async def test_versions_are_listed_newest_first_in_pages(client: rpc.OptimizerServiceAsyncStub) -> None:
    """Following the tokens yields every version once."""
    await client.CreateTemplate(create())
    for number in range(4):
        await client.CreateTemplateVersion(add(text=f"{number} {{{{ topic }}}}"))
    seen: list[int] = []
    token = ""
    for _ in range(3):
        page = await client.ListTemplateVersions(
            pb.ListTemplateVersionsRequest(template_id="haiku", page_size=2, page_token=token)
        )
        seen += [each.version for each in page.versions]
        token = page.next_page_token
    assert (seen, token) == ([5, 4, 3, 2, 1], "")


async def test_tenants_never_meet(running: Running, client: rpc.OptimizerServiceAsyncStub) -> None:
    """The same id in two tenants is two templates."""
    other = await running.client("umbrella")
    await client.CreateTemplate(create(text="acme {{ topic }}"))
    assert (
        await error_of(other.GetTemplate(pb.GetTemplateRequest(template_id="haiku")))
    ).reason == "TEMPLATE_NOT_FOUND"
    await other.CreateTemplate(create(text="umbrella {{ topic }}"))
    made = await client.Optimize(pb.OptimizeRequest(template_id="haiku", variables={"topic": "x"}))
    assert made.messages[0].content == "acme x"


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("template_id", {"template_id": "Bad-Id"}),
        ("content_type", {"content_type": "a b"}),
        ("display_name", {"display_name": "x" * 129}),
        ("description", {"description": "x" * 1025}),
        ("request_id", {"request_id": "x" * 129}),
    ],
)
async def test_a_bad_field_of_a_creation_is_named(
    client: rpc.OptimizerServiceAsyncStub, field: str, change: dict[str, str]
) -> None:
    """Each with INVALID_ARGUMENT."""
    request = create()
    request.MergeFrom(pb.CreateTemplateRequest(**change))  # type: ignore[arg-type]  # the names are the fields'
    error = await error_of(client.CreateTemplate(request))
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert [each.field for each in error.violations] == [field]


SOURCES = {
    "source.messages": pb.TemplateSource(sampling=pb.SamplingParameters(max_tokens=1)),
    "source.messages[0].role": pb.TemplateSource(messages=[pb.ChatMessage(content="x")]),
    "source.messages[0].content": source("{{ undeclared }}"),
    "source.sampling.max_tokens": source(max_tokens=0),
    "source.variables[2].name": source(),
    "source.variables[2].default_value": source(),
    "source.sampling.temperature": source(),
    "source.sampling.top_p": source(),
    "source.sampling.stop[0]": source(),
}
SOURCES["source.variables[2].name"].variables.add(name="topic")
SOURCES["source.variables[2].default_value"].variables.add(name="more", required=True, default_value="x")
SOURCES["source.sampling.temperature"].sampling.temperature = float("nan")
SOURCES["source.sampling.top_p"].sampling.top_p = 0
SOURCES["source.sampling.stop[0]"].sampling.stop.append("")


@pytest.mark.parametrize("field", SOURCES)
async def test_a_bad_part_of_a_source_is_named(client: rpc.OptimizerServiceAsyncStub, field: str) -> None:
    """Wherever it is, and nothing is created."""
    request = pb.CreateTemplateRequest(template_id="haiku", source=SOURCES[field])
    error = await error_of(client.CreateTemplate(request))
    assert (error.kind, error.violations[0].field) == (ErrorKind.INVALID_ARGUMENT, field)


@pytest.mark.parametrize(
    "text", ["{% for %}", "{{ topic.__class__ }}", "{% include 'x' %}", "{{ topic | nope }}"]
)
async def test_what_is_no_safe_template_is_refused_when_created(
    client: rpc.OptimizerServiceAsyncStub, text: str
) -> None:
    """Not when it is rendered."""
    error = await error_of(client.CreateTemplate(create(text=text)))
    assert error.violations[0].field == "source.messages[0].content"


@pytest.mark.parametrize("token", ["garbage", "p1:x", "cDE6IQ==", "é"])
async def test_a_bad_page_token_is_refused(client: rpc.OptimizerServiceAsyncStub, token: str) -> None:
    """In both listings."""
    await client.CreateTemplate(create())
    for call in (
        client.ListTemplates(pb.ListTemplatesRequest(page_token=token)),
        client.ListTemplateVersions(pb.ListTemplateVersionsRequest(template_id="haiku", page_token=token)),
        client.ListTemplates(pb.ListTemplatesRequest(page_size=1001)),
        client.ListTemplates(pb.ListTemplatesRequest(page_size=-1)),
    ):
        assert (await error_of(call)).kind is ErrorKind.INVALID_ARGUMENT
