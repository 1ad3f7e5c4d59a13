"""Proof of which commit a layer was built from. Its text runs in containers: as a step of the build, and as a check.

It uses the standard library and git alone. A change of it changes the keys of all layers that have the proof.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

RECORD = "vep-source.json"


def identify(place: Path, commit_file: str) -> dict[str, object]:
    """Commit, tree and files (path and blob) of the source tree at ``place``.

    The commit is the hash of the commit object that came with the tree, and the tree is hashed anew, by git: exits
    where the object names another tree. Below it, a directory with a commit object is a submodule, and so proven too.
    """
    stored = (place / commit_file).read_bytes()
    commit = _git_hash("commit", stored)
    named = stored.split(b"\n", 1)[0].decode().partition("tree ")[2]
    submodules: dict[Path, object] = {}
    for path in sorted(each.parent.relative_to(place) for each in place.rglob(commit_file) if each.parent != place):
        if not any(path.is_relative_to(above) for above in submodules):
            submodules[path] = identify(place / path, commit_file)["commit"]
    with tempfile.TemporaryDirectory() as scratch:
        environ = dict(
            os.environ, GIT_DIR=f"{scratch}/git", GIT_WORK_TREE=str(place), GIT_CONFIG_NOSYSTEM="1", HOME=scratch
        )

        def git(*words: str) -> str:
            return subprocess.check_output(["git", *words], cwd=place, env=environ, text=True).strip()

        git("init", "--quiet")
        git("add", "--all", "--force", "--", ".", f":!{commit_file}", *(f":!{path}" for path in submodules))
        for path, link in submodules.items():
            git("update-index", "--add", "--cacheinfo", f"160000,{link},{path}")
        tree = git("write-tree")
        entries = [line.split("\t") for line in git("-c", "core.quotePath=false", "ls-files", "--stage").splitlines()]
    if tree != named:
        at = "".join(f", with {path} at {link}" for path, link in submodules.items())
        sys.exit(f"{place} is not commit {commit}{at}: that has the tree {named}, and this is {tree}")
    return {"commit": commit, "tree": tree, "files": {path: words.split()[1] for words, path in entries}}


def record(place: str, prefix: str, commit_file: str, says: str) -> str:
    """Leave in ``prefix`` what the source tree at ``place`` is. ``says`` is a file and a pattern, for the version that
    the tree itself says, or empty. Nothing is wrong then: empty.
    """
    found = identify(Path(place), commit_file)
    if says:
        file, pattern = says.split(":", 1)
        told = re.search(pattern, Path(place, file).read_text(encoding="utf-8"), re.MULTILINE)
        found["version"] = told[1] if told else None
    Path(prefix).mkdir(parents=True, exist_ok=True)
    Path(prefix, RECORD).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return ""


def check(prefix: str, commit: str, version: str, least: str) -> str:
    """What is wrong with a built prefix: another commit or version than is pinned (where it is: empty, if not), files
    that are not those of the source, or fewer than ``least`` of these. Empty if nothing is.
    """
    found = json.loads(Path(prefix, RECORD).read_text(encoding="utf-8"))
    print("commit", found["commit"], "tree", found["tree"], *(("version", found["version"]) if version else ()))
    wrong = []
    if commit and found["commit"] != commit:
        wrong.append(f"the commit that is pinned is {commit}")
    if version and found["version"] != version:
        wrong.append(f"the version that is pinned is {version}")
    same = 0
    for file in sorted(each for each in Path(prefix).rglob("*") if each.is_file() and not each.is_symlink()):
        inside = file.relative_to(prefix).as_posix()
        blobs = {blob for path, blob in found["files"].items() if f"/{path}".endswith(f"/{inside}")}
        if not blobs:
            continue
        if _git_hash("blob", file.read_bytes()) in blobs:
            same += 1
        else:
            wrong.append(f"{inside} is not the source's")
    if same or int(least):
        print(same, "of the installed files are the source's")
    if same < int(least):
        wrong.append(f"there are fewer than {least}")
    return "; ".join(wrong)


def _git_hash(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


MODES: dict[str, Callable[..., str]] = {"record": record, "check": check}

if __name__ == "__main__":
    sys.exit(MODES[sys.argv[1]](*sys.argv[2:]) or 0)
