"""From what a person names to each service's store: SQLite is a file per service, Firestore one for all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from factory_cli.endpoints import SERVICES
from factory_cli.failures import CommandError
from factory_cli.supervision.specs import store_path

_SQLITE = "sqlite:///"
_SERVICE = "{service}"
_SUFFIX = ".db"
NAMES = tuple(each.name for each in SERVICES)


def chosen(given: Sequence[str]) -> tuple[str, ...]:
    """Return the services to move, all unless some are named.

    Raises:
        CommandError: If one is no service.
    """
    strangers = [each for each in given if each not in NAMES]
    if strangers:
        raise CommandError(f"--service: {', '.join(strangers)}: write {', '.join(NAMES)}")
    return tuple(each for each in NAMES if each in given) or NAMES


def store_urls(url: str, services: Sequence[str], *, option: str) -> dict[str, str]:
    """Return the store of each service.

    Args:
        url: `sqlite:///FOLDER` with a file per service as `factory up` keeps them, a path with `{service}` in
            it, one file if there is one service, or `firestore://PROJECT/DATABASE`.
        services: Their names.
        option: Where the URL was given.

    Raises:
        CommandError: If it is neither, or one file for several services.
    """
    if url.startswith("firestore://"):
        return dict.fromkeys(services, url)
    path = url.removeprefix(_SQLITE)
    if not url.startswith(_SQLITE) or not path:
        raise CommandError(f"{option}: write sqlite:///FOLDER or firestore://PROJECT/DATABASE, not {url!r}")
    if _SERVICE in path:
        return {name: _file_url(Path(path.replace(_SERVICE, name))) for name in services}
    if not path.endswith(_SUFFIX):
        return {name: _file_url(store_path(name, Path(path))) for name in services}
    if len(services) == 1:
        return {services[0]: _file_url(Path(path))}
    raise CommandError(
        f"{option}: {path} is one file, and each service has its own\n"
        f"name their folder, or put {_SERVICE} in the place of the name, or choose one with --service"
    )


def _file_url(path: Path) -> str:
    return f"{_SQLITE}{path.resolve()}"
