"""What the repository holds: nothing of one machine, no package index, records and a changelog in order."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
DECISIONS = ROOT / "docs" / "decisions"
LOCKS = ("requirements.lock", "package-lock.json")

# Written in pieces, so that this file is not found guilty of itself.
_MACHINE_PATHS = re.compile(
    r"(?<![\w./-])/(?:" + "|".join(("work" + "/", "root" + "/", "home/" + r"\w+/", "Users/" + r"\w+/")) + ")"
)
_INDEX_HOSTS = re.compile(
    "|".join(
        (r"files\.python" + "hosted", r"py" + r"pi\.org", r"registry\.npm" + "js", r"proxy\.gol" + "ang")
    )
)


def tracked() -> dict[str, str]:
    """Return the text of every tracked file by its path."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    texts: dict[str, str] = {}
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if path.is_file():
            texts[name] = path.read_bytes().decode("utf-8", "ignore")
    return texts


def test_nothing_of_one_machine_is_tracked() -> None:
    """No absolute path of whoever wrote it."""
    guilty = [name for name, text in tracked().items() if _MACHINE_PATHS.search(text)]
    assert guilty == []


def test_no_file_names_a_package_index() -> None:
    """Where packages come from is each machine's own setting, in locks too."""
    guilty = [name for name, text in tracked().items() if _INDEX_HOSTS.search(text)]
    assert guilty == []


def test_locks_carry_hashes_and_no_addresses() -> None:
    """Every pinned package is verified wherever it comes from."""
    texts = {name: text for name, text in tracked().items() if name.endswith(LOCKS)}
    assert {Path(name).name for name in texts} == set(LOCKS)
    for name, text in texts.items():
        assert '"resolved"' not in text, name
        assert "--index-url" not in text, name
        assert "--hash=sha256:" in text or '"integrity"' in text, name


def test_decisions_are_numbered_once_and_titled() -> None:
    """Each record has its own number and a heading."""
    names = [path.name for path in DECISIONS.glob("*.md") if path.name != "README.md"]
    assert names
    numbers = Counter(name[:4] for name in names)
    assert all(re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", name) for name in names)
    assert [number for number, times in numbers.items() if times > 1] == []
    assert all((DECISIONS / name).read_text("utf-8").startswith("# ") for name in names)


def test_there_is_a_changelog() -> None:
    """Users find what changed for them."""
    assert (ROOT / "CHANGELOG.md").read_text("utf-8").startswith("# ")
