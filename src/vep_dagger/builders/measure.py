"""What a Python environment and each package in it take: the bytes of files, on one walk.

A script of its own: containers run its text by the Python of the environment that is measured. Only the standard
library, and nothing newer than Python 3.8.
"""

from __future__ import annotations

import csv
import json
import os
import sys
from importlib.metadata import distributions


def main(prefix: str) -> None:
    """Print, as JSON, ``bytes`` (of all files below ``prefix``) and ``packages`` (of those of each distribution)."""
    owners = _owners()
    whole = 0
    packages: dict[str, int] = {}
    ahead = [prefix]
    while ahead:
        with os.scandir(ahead.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    ahead.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    size = entry.stat(follow_symlinks=False).st_size
                    whole += size
                    owner = owners.get(entry.path) or owners.get(_module(entry.path))
                    if owner:
                        packages[owner] = packages.get(owner, 0) + size
    json.dump({"bytes": whole, "packages": packages}, sys.stdout, sort_keys=True)


def _owners() -> dict[str, str]:
    """The distribution of each file that a RECORD has; the first that Python finds, where several have one."""
    owners: dict[str, str] = {}
    for each in distributions():
        name, place = each.metadata["Name"], str(each.locate_file(""))
        for row in csv.reader((each.read_text("RECORD") or "").splitlines()):
            if name and row:
                owners.setdefault(os.path.normpath(f"{place}/{row[0]}"), name)
    return owners


def _module(path: str) -> str:
    """The module that a file of bytecode is of: a RECORD need not have what was compiled after it was written."""
    place, between, file = path.rpartition("/__pycache__/")
    return f"{place}/{file.partition('.')[0]}.py" if between else ""


if __name__ == "__main__":
    main(sys.argv[1])
