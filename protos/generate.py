"""Generates protos/gen from the contracts; with --check, fails when the committed code is stale.

The path of a contract is its package and its import: `contentfactory/cache/v1/cache.proto` becomes
`contentfactory.cache.v1.cache_pb2`. Google's own files come from their wheel and are not generated.
"""

import filecmp
import importlib.resources
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
GENERATED = ROOT / "gen" / "contentfactory"


def generate(into: Path) -> None:
    """Write the Python code and type stubs of every contract below `into`."""
    contracts = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "contentfactory").rglob("*.proto"))
    well_known = str(importlib.resources.files("grpc_tools") / "_proto")
    scripts = Path(sysconfig.get_path("scripts"))
    plugins = [f"--plugin={name}={scripts / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    outputs = [f"--{kind}_out={into}" for kind in ("python", "grpc_python", "mypy", "mypy_grpc")]
    code = protoc.main(
        ["protoc", f"-I{ROOT}", f"-I{ROOT / 'third_party'}", f"-I{well_known}", *plugins, *outputs, *contracts]
    )
    if code != 0:
        sys.exit(f"protoc failed with exit code {code}")


def differences(left: Path, right: Path) -> list[str]:
    """Return the files that only one tree has, or that differ between the two."""
    names = {str(path.relative_to(tree)) for tree in (left, right) for path in tree.rglob("*.py*") if "__pycache__" not in path.parts}
    return sorted(
        name
        for name in names
        if not ((left / name).exists() and (right / name).exists() and filecmp.cmp(left / name, right / name, shallow=False))
    )


def main() -> None:
    """Generate, or check."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = Path(scratch) / "contentfactory"
        if "--check" not in sys.argv[1:]:
            shutil.rmtree(GENERATED, ignore_errors=True)
            shutil.copytree(fresh, GENERATED)
            return
        stale = differences(fresh, GENERATED)
    if stale:
        sys.exit("protos/gen is stale, run `make proto` and commit: " + ", ".join(stale))


if __name__ == "__main__":
    main()
