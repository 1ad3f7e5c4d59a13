"""Flags of vLLM that a matrix file must not have among its ``args``: those that vep gives, and secrets.

vLLM's parser is Python's argparse, which takes the beginning of a flag that is the beginning of no other for the whole
of it (``allow_abbrev``; ``vllm/utils/argparse_utils.py`` leaves that on, 0.27.0 and 0.32.0). So a beginning is refused
like the flag itself. Whether another flag begins so too differs between releases, and then vLLM refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from vep_dagger.compat.rules import Selection
from vep_dagger.errors import MatrixError
from vep_dagger.matrix import Cell, Matrix
from vep_dagger.plan.deployment import OWN_FLAGS, SECRETS, flag_name
from vep_dagger.plan.nodes import LAYOUT_FLAGS, RANK_FLAGS
from vep_dagger.plan.places import serve_place

_BEGINS_A_FLAG = re.compile(r"-[^\d.\s]")
"""argparse keeps negative numbers for values, and nothing else that begins with a dash."""


def read_as(name: str, flags: Collection[str]) -> str | None:
    """The flag of ``flags`` that vLLM may take ``--name`` for: that one itself, or one that it is the beginning of;
    neither ``no-`` before it nor a nested option's name after a dot takes anything away. None for any other flag."""
    given = _plain(name)
    if given in flags:
        return given
    return next((flag for flag in sorted(flags) if flag.startswith(given)), None)


def called(name: str, flag: str) -> str:
    """A flag as it was written, and what that is short for."""
    given = f"--{flag_name(name)}"
    return given if _plain(name) == flag else f"{given} is short for --{flag}, which"


def _plain(name: str) -> str:
    return flag_name(name).partition(".")[0].removeprefix("no-")


def read_as_flag(value: object) -> str | None:
    """What of a value vLLM's parser would take for a flag, so that something else follows from it than its name says;
    None for a value that stays one, as negative numbers do."""
    words = value if isinstance(value, (list, tuple)) else [value]
    return next((word for word in words if isinstance(word, str) and _BEGINS_A_FLAG.match(word)), None)


def refuse_own_flags(matrix: Matrix, cell: Cell, selection: Selection, nodes: int) -> None:
    """Raise MatrixError for what may not stand among the ``args`` of a cell, whose backend needs ``selection``."""
    own = {flag_name(flag.removeprefix("--")) for flag in selection.args if flag.startswith("--")} | OWN_FLAGS
    for name, _ in cell.settings.args:
        where = serve_place(matrix, cell, "args", name)
        if secret := read_as(name, [flag for flag in SECRETS if flag.islower()]):
            what = name if _plain(name) == secret else f"{name}, short for {secret},"
            raise MatrixError(
                f"{what} is a secret and cannot stand in a matrix file", where=where, hint=SECRETS[secret]
            )
        if flag := read_as(name, own):
            raise MatrixError(
                f"{called(name, flag)} is given by vep itself",
                where=where,
                hint="use the key of [serve] or the switch that sets it: model, revision, tensor_parallel, "
                "data_parallel, expert_parallel, all2all, deep_gemm, host, port",
            )
        if nodes > 1 and (flag := read_as(name, LAYOUT_FLAGS)):
            raise MatrixError(
                f"{called(name, flag)} lays a server of several nodes out, which vep does itself",
                where=where,
                hint="leave it out: nodes, data_parallel and rpc_port of [serve] say it",
            )
        if (flag := read_as(name, RANK_FLAGS)) and _plain(name) != flag:
            raise MatrixError(
                f"{called(name, flag)} says how many GPUs a node needs",
                where=where,
                hint=f"write it whole, so that they are counted: {flag} = …",
            )


def refuse_flags_in_values(matrix: Matrix, cell: Cell) -> None:
    """Raise MatrixError for a value among a cell's ``args`` that vLLM would read as a further flag."""
    for name, value in cell.settings.args:
        if word := read_as_flag(value):
            raise MatrixError(
                f"{word!r} is no value of {name}: vLLM takes it for a flag",
                where=serve_place(matrix, cell, "args", name),
                hint="every flag is an entry of its own",
            )
