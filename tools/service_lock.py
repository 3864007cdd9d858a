# noqa: INP001 - a script, not a package
"""Prints the part of requirements.lock that some projects of this house need: the same pins, the same hashes.

pip refuses a lock with hashes as a constraint for local projects, so an installation of one service alone
takes its part of the one lock as a requirements file. What belongs to it is read from the projects' own
dependencies and from the lock's `# via` notes, which name who needs each pin: no network, no resolver, and
`pip check` proves it afterwards.

    python tools/service_lock.py protos services/common services/cache > cache.lock
    pip install --no-deps --require-hashes -r cache.lock

Standard library only: it runs where nothing is installed yet.
"""

import re
import sys
import tomllib
from pathlib import Path

LOCK = Path(__file__).parents[1] / "requirements.lock"
BUILD = "build-system"

_PIN = re.compile(r"^([a-z0-9][a-z0-9._-]*)==", re.IGNORECASE)
_VIA = re.compile(r"^ +#(?: via)? +([a-z0-9][a-z0-9._-]*)", re.IGNORECASE)
_NAME = re.compile(r"^ *([A-Za-z0-9][A-Za-z0-9._-]*)")


def normalized(name: str) -> str:
    """Return a distribution's name as the index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock: str) -> dict[str, str]:
    """Return each pin's lines by its normalized name."""
    blocks: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lock.splitlines(keepends=True):
        if found := _PIN.match(line):
            current = blocks.setdefault(normalized(found[1]), [])
        current.append(line)
    return {name: "".join(lines) for name, lines in blocks.items()}


def needed_by(block: str) -> set[str]:
    """Return who needs a pin, by its `# via` notes."""
    return {normalized(found[1]) for line in block.splitlines() if (found := _VIA.match(line))}


def direct_needs(project: Path, *, build: bool) -> set[str]:
    """Return the names a project's pyproject.toml asks for: to run, or to be built."""
    content = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    asked = content["build-system"]["requires"] if build else content["project"].get("dependencies", [])
    return {normalized(found[1]) for each in asked if (found := _NAME.match(each))}


def closure(names: set[str], blocks: dict[str, str]) -> set[str]:
    """Return the pins of these names and of everything they need."""
    known = names & blocks.keys()
    while more := {name for name, block in blocks.items() if name not in known and needed_by(block) & known}:
        known |= more
    return known


def main(arguments: list[str]) -> int:
    """Print the part for the projects named; with `build-system` first, the part that builds them."""
    build = arguments[:1] == [BUILD]
    projects = [Path(each) for each in arguments[int(build) :]]
    if not projects:
        sys.stderr.write(f"usage: service_lock.py [{BUILD}] PROJECT...\n")
        return 2
    blocks = pins(LOCK.read_text("utf-8"))
    local = {
        normalized(tomllib.loads((each / "pyproject.toml").read_text("utf-8"))["project"]["name"])
        for each in projects
    }
    wanted = set[str]().union(*(direct_needs(each, build=build) for each in projects)) - local
    if missing := wanted - blocks.keys():
        sys.stderr.write(
            f"not in {LOCK.name}, and not among the projects given: {', '.join(sorted(missing))}\n"
        )
        return 1
    sys.stdout.write("".join(blocks[name] for name in sorted(closure(wanted, blocks))))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
