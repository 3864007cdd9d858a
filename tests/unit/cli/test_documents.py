"""Documents as sources: found, titled, and cut where they do not fit, saying so."""

from pathlib import Path

import pytest
from factory_cli.failures import CommandError
from factory_cli.submission.documents import cut, document_files, parse_document
from factory_cli.submission.reading import read_input
from hypothesis import given
from hypothesis import strategies as st


def test_the_first_heading_is_the_topic() -> None:
    """A document is about its first heading, and its text is the source."""
    topic = parse_document("Preface\n\n## The tides ##\n\nText.", name="a", limit_bytes=1000)
    assert topic.topic == "The tides"
    assert topic.variables["source"].endswith("Text.")


def test_without_a_heading_the_file_name_is_the_topic() -> None:
    """A file name is read as words."""
    assert parse_document("Text.", name="printing-press_1", limit_bytes=1000).topic == "printing press 1"


def test_a_long_document_is_cut_at_a_sentence_and_says_so() -> None:
    """The cut ends with a sentence, the text says that it goes on, and the author gets a note."""
    text = "One sentence here. " * 100
    topic = parse_document(text, name="a", limit_bytes=400)
    source = topic.variables["source"]
    assert "here.\n\n[The source goes on; 1,899 characters in all.]" in source
    assert topic.notes == (f"cut to {len(source):,} of 1,899 characters",)


@given(st.text(), st.integers(min_value=256, max_value=2000))
def test_a_cut_text_always_fits(text: str, limit: int) -> None:
    """No text is longer than the limit in bytes, and one that fits is left as it is."""
    kept = cut(text, limit)
    assert len(kept.encode()) <= limit
    assert kept == text or len(text.encode()) > limit


def test_documents_are_found_in_order_and_hidden_ones_are_not(tmp_path: Path) -> None:
    """Markdown and text files of all sub-folders count; hidden files and other kinds do not."""
    for name in ("b.txt", "a.MD", "sub/c.md", ".hidden.md", ".git/d.md", "e.pdf"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    found = [str(each.relative_to(tmp_path)) for each in document_files(tmp_path)]
    assert found == ["a.MD", "b.txt", "sub/c.md"]


def test_one_bad_document_refuses_the_folder_unless_skipped(tmp_path: Path) -> None:
    """All bad files are named at once; on request they are left out with a warning."""
    (tmp_path / "good.md").write_text("# Good\n\ntext")
    (tmp_path / "empty.md").write_text(" \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match=r"(?s)binary\.txt: not UTF-8.*empty\.md: the file is empty"):
        read_input(tmp_path, skip_bad_lines=False, source_limit_bytes=1000)
    found = read_input(tmp_path, skip_bad_lines=True, source_limit_bytes=1000)
    assert [each.topic for each in found.topics] == ["Good"]
    assert len(found.warnings) == 2


def test_an_input_without_topics_is_refused(tmp_path: Path) -> None:
    """An empty file, an empty folder and a missing path each say so."""
    (tmp_path / "empty.jsonl").write_text("\n\n")
    for path, said in (
        (tmp_path / "empty.jsonl", "no topic"),
        (tmp_path, "no topic"),
        (tmp_path / "x", "No such"),
    ):
        with pytest.raises(CommandError, match=said):
            read_input(path, skip_bad_lines=False, source_limit_bytes=1000)


def test_the_examples_can_be_read() -> None:
    """What the README tells people to run is good input: three topics, a syllabus, four sources."""
    examples = Path(__file__).parents[3] / "examples"
    counts = {
        name: len(read_input(examples / name, skip_bad_lines=False, source_limit_bytes=2000).topics)
        for name in ("topics.jsonl", "syllabus.jsonl", "sources")
    }
    assert counts == {"topics.jsonl": 3, "syllabus.jsonl": 14, "sources": 4}
