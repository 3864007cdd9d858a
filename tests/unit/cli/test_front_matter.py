"""Results as files: front matter that YAML reads back exactly, and paths that never leave the folder."""

from pathlib import Path

import pytest
import yaml
from contentfactory.processor.v1 import processor_pb2 as pb
from factory_cli.results.front_matter import to_markdown
from factory_cli.results.output_files import OutputFolder, relative_path
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")))


def _result(item_id: str = "tides/faq", topic: str = "Tides", **piece: object) -> pb.ItemResult:
    facts = {"content": "# FAQ\n", "content_type": "faq", "model": "m", "template_id": "faq", **piece}
    return pb.ItemResult(
        item_id=item_id,
        state=pb.ITEM_STATE_SUCCEEDED,
        labels={"topic": topic},
        piece=pb.Piece(**facts),  # type: ignore[arg-type]  # facts differ from test to test
    )


def _split(text: str) -> tuple[dict[str, object], str]:
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_front_matter_says_how_a_piece_came_to_be() -> None:
    """Every fact of the contract's piece that a reader needs is there, with its type."""
    result = _result(
        template_version=3,
        quality=0.8125,
        prompt_tokens=10,
        output_tokens=20,
        cost_micros=1500,
        cached=True,
        cache_key="k",
    )
    facts, body = _split(to_markdown(result, job_id="J"))
    assert facts == {
        "topic": "Tides",
        "content_type": "faq",
        "model": "m",
        "template": "faq",
        "template_version": 3,
        "quality": 0.812,
        "prompt_tokens": 10,
        "output_tokens": 20,
        "cost": 0.0015,
        "cached": True,
        "truncated": False,
        "cache_key": "k",
        "job_id": "J",
        "item_id": "tides/faq",
    }
    assert body == "\n# FAQ\n"


def test_a_similar_prompts_answer_says_so() -> None:
    """Who reads the file sees that it was written for another prompt, and how similar that was."""
    facts, _ = _split(to_markdown(_result(cached=True, similarity=0.93217), job_id="J"))
    assert facts["similarity"] == 0.932


def test_an_unscored_piece_has_no_quality() -> None:
    """Not scored is null, which is not zero."""
    assert _split(to_markdown(_result(), job_id="J"))[0]["quality"] is None


@given(TEXTS)
def test_any_topic_survives_yaml(topic: str) -> None:
    """Whatever a topic is called, YAML reads the same words back, also `no`, `1e3` and quotes."""
    facts, _ = _split(to_markdown(_result(topic=topic.replace("---\n", "")), job_id="J"))
    assert facts["topic"] == topic


@pytest.mark.parametrize(
    "item_id", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", ".", "a//b", ".git/config"]
)
def test_no_item_id_leads_out_of_the_folder(item_id: str) -> None:
    """Ids of other clients may hold dots and slashes; files stay inside, and none is hidden."""
    path = relative_path(item_id)
    assert not path.is_absolute()
    assert not any(part.startswith(".") for part in path.parts)


@given(st.lists(st.from_regex(r"[A-Za-z0-9._:/-]{1,12}", fullmatch=True), unique=True))
def test_different_ids_are_different_files(ids: list[str]) -> None:
    """No result overwrites another one's file."""
    assert len({relative_path(each) for each in ids}) == len(ids)


def test_a_piece_without_content_leaves_no_file(tmp_path: Path) -> None:
    """Failed items make no file; the folder holds exactly what was written."""
    folder = OutputFolder(tmp_path, job_id="J")
    folder.write(_result())
    folder.write(pb.ItemResult(item_id="tides/outline", state=pb.ITEM_STATE_FAILED))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "tides" / "faq.md"]
    assert folder.written == [tmp_path / "tides" / "faq.md"]
