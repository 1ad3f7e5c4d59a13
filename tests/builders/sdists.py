"""Source distributions and what builds them: a backend of a few lines, whose version can be seen in what it built."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

BACKEND = """
import os, zipfile
VERSION = "{version}"


def get_requires_for_build_wheel(config_settings=None):
    return open("ASKS").read().split() if os.path.exists("ASKS") else []


def build_wheel(directory, config_settings=None, metadata_directory=None):
    name, version = open("NAME").read().split()
    module, info = name.replace("-", "_"), name.replace("-", "_") + "-" + version + ".dist-info"
    content = {{
        module + "/__init__.py": "BUILT_BY = %r\\n" % VERSION,
        info + "/METADATA": "Metadata-Version: 2.1\\nName: %s\\nVersion: %s\\n" % (name, version),
        info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: tests\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    content[info + "/RECORD"] = "".join(path + ",,\\n" for path in [*content, info + "/RECORD"])
    wheel = "%s-%s-py3-none-any.whl" % (module, version)
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as archive:
        for path, text in content.items():
            archive.writestr(path, text)
    return wheel
"""


def backend(version: str) -> dict[str, str]:
    """The files of the wheel ``vep-backend`` of this version."""
    return {"vep_backend/__init__.py": BACKEND.format(version=version)}


def make_sdist(
    directory: Path,
    name: str,
    version: str = "1.0",
    *,
    requires: tuple[str, ...] | None = ("vep-backend",),
    asks: tuple[str, ...] = (),
    files: Mapping[str, str] | None = None,
) -> Path:
    """A source distribution that ``vep-backend`` builds. ``requires`` are what its pyproject.toml asks for, if it has
    one; ``asks`` what its build asks for as it runs.
    """
    system = f'[build-system]\nrequires = {list(requires or ())!r}\nbuild-backend = "vep_backend"\n'
    content = {
        # Its metadata is final (PEP 643), so that nothing of it has to be run to know it.
        "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
        "NAME": f"{name} {version}",
        **({} if requires is None else {"pyproject.toml": system}),
        **({"ASKS": "\n".join(asks)} if asks else {}),
        **(files or {}),
    }
    stem = f"{name.replace('-', '_')}-{version}"
    file = directory / f"{stem}.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        for path, text in content.items():
            member = tarfile.TarInfo(f"{stem}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return file


def hash_of(file: Path) -> str:
    """The sha256 of a file, as a lock has it."""
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
