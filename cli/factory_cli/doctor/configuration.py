"""Checks of what a start here would find: each service's own word on its environment, files and space."""

from __future__ import annotations

import asyncio
import os
import shutil
from asyncio import subprocess
from collections.abc import Mapping
from pathlib import Path

from factory_cli.doctor.finding import Finding, bad, note, ok
from factory_cli.endpoints import Endpoint, Endpoints
from factory_cli.supervision.specs import service_spec, store_path

_TIMEOUT_S = 30.0
_LEAST_FREE_BYTES = 500_000_000


async def check_configuration(
    endpoints: Endpoints, *, data_dir: Path, environ: Mapping[str, str]
) -> list[Finding]:
    """Ask each local service whether it could start with this environment."""
    local = [each for each in endpoints.services if each.local]
    return list(await asyncio.gather(*(_configuration(each, endpoints, data_dir, environ) for each in local)))


async def _configuration(
    endpoint: Endpoint, endpoints: Endpoints, data_dir: Path, environ: Mapping[str, str]
) -> Finding:
    spec = service_spec(endpoint, endpoints, data_dir=data_dir, environ=environ)
    subject = f"{spec.name} configuration"
    running = await subprocess.create_subprocess_exec(
        *spec.command,
        "--check-config",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(spec.environ),
    )
    try:
        output, _ = await asyncio.wait_for(running.communicate(), _TIMEOUT_S)
    except TimeoutError:
        running.kill()
        await running.wait()
        return bad(
            subject, f"no answer within {_TIMEOUT_S:.0f} s", f"run: {' '.join(spec.command)} --check-config"
        )
    lines = output.decode("utf-8", "replace").strip().splitlines()
    if running.returncode == 0:
        return ok(subject, "usable")
    found = lines[1:] if len(lines) > 1 and lines[0].endswith(":") else lines[-1:]
    return bad(subject, "; ".join(each.strip() for each in found), "correct the variables named")


def check_files(endpoints: Endpoints, *, data_dir: Path) -> list[Finding]:
    """Look at the data folder and the services' files in it."""
    existing = next((each for each in (data_dir, *data_dir.absolute().parents) if each.exists()), Path("/"))
    if not os.access(existing, os.W_OK):
        return [bad("data", f"{existing} is not writable", "choose another folder with --data-dir")]
    found = [_space(existing)]
    for each in endpoints.services:
        path = store_path(each.spec.name, data_dir)
        if not each.local or not path.exists():
            continue
        if os.access(path, os.W_OK):
            size = sum(part.stat().st_size for part in path.parent.glob(f"{path.name}*"))
            found.append(ok(f"{each.spec.name} store", f"{path}, {size / 1e6:.1f} MB"))
        else:
            found.append(bad(f"{each.spec.name} store", f"{path} is not writable", "give this user the file"))
    return found


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{folder.absolute()} is writable, {free / 1e9:.1f} GB free"
    return ok("data", text) if free >= _LEAST_FREE_BYTES else note("data", text, "free some space")
