"""Checks of what is installed here: Python, packages, the embedded model."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

from factory_cli.doctor.finding import Finding, bad, note, ok
from factory_cli.endpoints import SERVICES
from factory_cli.model import files
from factory_cli.supervision.specs import wants_embedded_model

_LEAST_PYTHON = (3, 11)


def check_installation(environ: Mapping[str, str]) -> Iterable[Finding]:
    """Look at Python, the packages and the embedded model."""
    yield _python()
    for distribution in ("contentfactory-cli", "contentfactory-protos", "grpcio"):
        yield _package(distribution, "run: make setup")
    for spec in SERVICES:
        yield _package(f"contentfactory-{spec.name}", "run: make setup, or name where it runs: FACTORY_*")
    yield _embedded_model(environ)


def _python() -> Finding:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < _LEAST_PYTHON:
        return bad("python", found, "Python 3.11 or newer is needed")
    return ok("python", found)


def _package(distribution: str, advice: str) -> Finding:
    try:
        return ok(distribution, version(distribution))
    except PackageNotFoundError:
        return bad(distribution, "not installed", advice)


def _embedded_model(environ: Mapping[str, str]) -> Finding:
    found = files.find()
    if found.complete and found.gguf is not None:
        return ok("embedded model", f"{found.gguf.name}, {found.gguf.stat().st_size / 1e6:.0f} MB")
    text, _, advice = files.explain_missing(found).partition("\n")
    return (
        bad("embedded model", text, advice) if wants_embedded_model(environ) else note("embedded model", text)
    )
