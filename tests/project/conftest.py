from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The tree as a fresh clone would have it: what git tracks, and what it would if it were added."""
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    copy = tmp_path / "clone"
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, copy / name
        if source.exists():  # not deleted meanwhile
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return copy


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A directory for PATH that has what make needs and no Python."""
    directory = tmp_path / "tools"
    directory.mkdir()
    for name in ("make", "sh", "env", "true"):
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"needs {name}: apt-get install {name}")
        (directory / name).symlink_to(os.path.realpath(path))
    return directory
