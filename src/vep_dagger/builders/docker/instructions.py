"""The instructions of a Containerfile as text, quoted so that the frontend reads back what was meant."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vep_dagger.builders.stages import Operation


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a stage, and the operation that it carries out, if it does."""

    text: str
    operation: Operation | None = None

    @property
    def counted(self) -> bool:
        """Whether BuildKit counts it as a step (``[nccl 3/5]``)."""
        return self.text.startswith(("RUN ", "COPY ", "WORKDIR "))


def env(variables: dict[str, str], programs: Iterable[str] = ()) -> list[str]:
    """ENV for variables, and for the directories of programs before what PATH is."""
    quoted = {name: word(value, always=True) for name, value in variables.items()}
    if first := ":".join(programs):
        path = quoted["PATH"][1:-1] if "PATH" in quoted else "$PATH"
        quoted["PATH"] = f'"{escaped(first)}:{path}"'
    pairs = [f"{name}={value}" for name, value in sorted(quoted.items())]
    return ["ENV " + " \\\n    ".join(pairs)] if pairs else []


def keywords(keyword: str, values: Mapping[str, str]) -> str:
    """An instruction of names and values, one a line."""
    return f"{keyword} " + " \\\n      ".join(f"{name}={word(value, always=True)}" for name, value in values.items())


def set_shell(words: Sequence[str]) -> Instruction:
    """What commands are run by from here on."""
    return Instruction(f"SHELL {json.dumps(list(words))}")


def run(mounts: Sequence[str], command: Sequence[str]) -> str:
    """RUN with its mounts, one a line, and a command of several lines."""
    lines = [f"--mount={mount} \\" for mount in mounts]
    return "RUN " + "\n    ".join([*lines, command[0]]) + "".join(f"\n{line}" for line in command[1:])


def copy(source: str, target: str, *, origin: str | None = None, mode: int | None = None, link: bool = False) -> str:
    """COPY, from the build context or from the stage or image ``origin``. With ``link`` what is copied is a layer of
    its own, whatever it is put on: it is not copied again when only that has changed.
    """
    flags = ["--link"] if link else []
    flags += [f"--from={origin}"] if origin else []
    flags += [f"--chmod={mode:04o}"] if mode is not None else []
    if re.search(r"\s", source + target):
        return " ".join(["COPY", *flags, json.dumps([escaped(source), escaped(target)])])
    return " ".join(["COPY", *flags, escaped(source), escaped(target)])


def escaped(text: str) -> str:
    """A text without what the frontend would take for a quote, an escape or a variable."""
    return re.sub(r'([\\"$])', r"\\\1", text)


def word(value: str, *, always: bool = False) -> str:
    """A value as the frontend reads it back unchanged, in quotes where it needs them or ``always``."""
    safe = escaped(value)
    return f'"{safe}"' if always or re.search(r"[\s'\"]", value) else safe
