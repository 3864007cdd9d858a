"""What a person types becomes the stores of the services; what they answer becomes figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factory_cli.failures import CommandError
from factory_cli.migration.pace import Pace
from factory_cli.migration.places import NAMES, chosen, store_urls
from factory_cli.migration.report import costs, differences
from factory_cli.migration.view import line
from factory_cli.migration.worker import Answer, Position
from factory_cli.supervision.specs import store_path


def test_a_folder_holds_a_file_per_service(tmp_path: Path) -> None:
    """The files are those that `factory up` keeps."""
    found = store_urls(f"sqlite:///{tmp_path}", NAMES, option="--from")
    assert found == {name: f"sqlite:///{store_path(name, tmp_path)}" for name in NAMES}


def test_a_relative_folder_is_made_absolute() -> None:
    """A migration is known by its source: the same one has the same name from wherever it is called."""
    found = store_urls("sqlite:///data", ["cache"], option="--from")
    assert found == {"cache": f"sqlite:///{Path('data/cache.db').resolve()}"}


def test_the_name_may_be_anywhere_in_the_path() -> None:
    """Where each service has a volume of its own, the path says where its name goes."""
    found = store_urls("sqlite:////mnt/{service}/store.db", ["cache", "tracker"], option="--from")
    assert found == {
        "cache": "sqlite:////mnt/cache/store.db",
        "tracker": "sqlite:////mnt/tracker/store.db",
    }


def test_one_file_is_of_one_service() -> None:
    """A file serves when one service is chosen; for more it is refused with the ways out."""
    assert store_urls("sqlite:////a/b.db", ["cache"], option="--from") == {"cache": "sqlite:////a/b.db"}
    with pytest.raises(CommandError, match=r"(?s)--from: /a/b.db is one file.*\{service\}"):
        store_urls("sqlite:////a/b.db", NAMES, option="--from")


def test_firestore_is_one_for_all() -> None:
    """All services share the database."""
    url = "firestore://p/(default)"
    assert store_urls(url, NAMES, option="--to") == dict.fromkeys(NAMES, url)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///", "data", "postgres://x"])
def test_what_cannot_be_copied_is_refused(url: str) -> None:
    """The message says what may be written."""
    with pytest.raises(CommandError, match="--to: write sqlite:///FOLDER or firestore://PROJECT/DATABASE"):
        store_urls(url, NAMES, option="--to")


def test_services_are_chosen_by_name() -> None:
    """All unless some are named, in one order; a name that is none is refused with those that are."""
    assert chosen([]) == NAMES
    assert chosen(["tracker", "cache"]) == ("cache", "tracker")
    with pytest.raises(CommandError, match=r"cash: write cache, optimizer, processor, tracker"):
        chosen(["cash"])


def plan(course: str, copied: int) -> Answer:
    """A plan for 1,000 documents."""
    collections: dict[str, Any] = {"things": {"documents": 1000, "bytes": 5000, "expired": 3}}
    return Answer("cache", "plan", {"course": course, "copied": copied, "collections": collections})


@pytest.mark.parametrize(
    ("course", "copied", "reads_from", "writes_to", "expected"),
    [
        ("begin", 0, False, True, (1000, 1000)),
        ("resume", 400, False, True, (600, 1000)),
        ("check", 1000, False, True, (0, 1000)),
        ("begin", 0, True, False, (0, 3000)),
        ("begin", 0, False, False, (0, 0)),
    ],
)
def test_what_firestore_bills(
    course: str, copied: int, reads_from: bool, writes_to: bool, expected: tuple[int, int]
) -> None:
    """A target is written once and read once; a source is read to count, to copy and to compare."""
    cost = costs([plan(course, copied)], reads_from=reads_from, writes_to=writes_to)
    assert (cost["writes"], cost["reads"]) == expected
    assert cost["cost_micros"] == round(expected[0] * 0.9 + expected[1] * 0.3)


def test_differences_say_what_to_do() -> None:
    """Equal ones say nothing; a target that was equal once is not to be overwritten."""
    fields = {"course": "begin", "differing": ["things"]}
    assert differences([Answer("cache", "outcome", {**fields, "differing": []})]) == []
    assert "run the same again" in differences([Answer("cache", "outcome", fields)])[0]
    used = Answer("cache", "outcome", {**fields, "course": "check"})
    assert differences([used]) == [
        "cache: things: not the same; the target has been used since it was copied"
    ]


def test_pace_and_time_to_go() -> None:
    """They come from the last seconds of the phase; a wait says its reason instead."""
    pace = Pace()
    pace.see(Position("cache", "counting", 5000, 0, ""), 0.0)
    pace.see(Position("cache", "copying", 100, 1000, ""), 1.0)
    last = Position("cache", "copying", 300, 1000, "")
    pace.see(last, 2.0)
    assert line(last, pace) == "300/1,000 documents · 200/s · 3.50 s to go"
    away = Position("cache", "copying", 300, 1000, "it is away")
    assert line(away, pace) == "300 documents · waiting: it is away"
