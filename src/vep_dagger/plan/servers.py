"""The servers of cells: what each does, how it is started, and what must not stand in a matrix file. Like images, each
is made once, however many cells share it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from vep_dagger.compat import Compat
from vep_dagger.compat.rules import LineRule, Selection
from vep_dagger.dsl import Image, Impossible
from vep_dagger.errors import CompatError, MatrixError
from vep_dagger.matrix import Cell, Matrix
from vep_dagger.plan.deployment import SECRETS, Deployment, Model, flags
from vep_dagger.plan.fabrics import needs_of, why_impossible
from vep_dagger.plan.model_source import model_of
from vep_dagger.plan.nodes import Layout, rank_degrees
from vep_dagger.plan.own_flags import refuse_flags_in_values, refuse_own_flags
from vep_dagger.plan.places import serve_place

OFFLINE = (("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"))
"""Set for a model that is a directory: nothing of it is on the hub, and a server must not wait for one that cannot be
reached."""


class Servers:
    """Makes each selection and each server once, and finds them again by the identity of the settings that decide them:
    cells that agree in all share one Settings object, and those that agree in a field share the field's
    (:class:`vep_dagger.matrix.cell.Settings`)."""

    def __init__(self, matrix: Matrix, compat: Compat) -> None:
        self._matrix = matrix
        self._compat = compat
        self._selections: dict[tuple[object, ...], Selection] = {}
        self._deployments: dict[int, Deployment] = {}
        self._serve: dict[int, Mapping[str, Any]] = {}
        self._models: dict[int, Model] = {}
        self._heads: dict[tuple[int, int], tuple[str, ...]] = {}
        self._tails: dict[tuple[int, int], tuple[str, ...]] = {}
        self._envs: dict[tuple[int, int, bool], tuple[tuple[str, str], ...]] = {}
        self._allowed: set[tuple[int | str, ...]] = set()
        smoke = matrix.file.smoke
        self._demanded = tuple(LineRule(f"text {text!r}", re.escape(text)) for text in smoke.demand)
        self._forbidden = tuple(LineRule(f"text {text!r}", re.escape(text)) for text in smoke.forbid)

    def made(self, cell: Cell) -> Deployment | None:
        """The cell's server, if it has been made for another."""
        return self._deployments.get(id(cell.settings))

    def of(self, cell: Cell, image: Image) -> Deployment | None:
        """The cell's server; None where the matrix serves nothing. Raises Impossible for what its release or its fabric
        is known not to do, and MatrixError for what stands in the file and may not.
        """
        if self._matrix.file.serve is None:
            return None
        selection = self._select(cell, image)
        if selection.impossible:
            raise Impossible(selection.impossible)
        if reason := image.failing.get(cell.settings.all2all or ""):
            raise Impossible(reason)
        layout = self._layout(cell, image)
        if reason := why_impossible(layout.fabric, cell.settings.all2all):
            raise Impossible(reason)
        server = self._deployments[id(cell.settings)] = self._deployment(cell, image, selection, layout)
        return server

    def _serve_of(self, cell: Cell) -> Mapping[str, Any]:
        serve = cell.settings.serve
        if id(serve) not in self._serve:
            self._serve[id(serve)] = dict(serve)
        return self._serve[id(serve)]

    def _select(self, cell: Cell, image: Image) -> Selection:
        settings = cell.settings
        wanted = (id(image), settings.all2all, settings.deep_gemm, id(settings.serve))
        selection = self._selections.get(wanted)
        if selection is None:
            found = self._look_up(cell, image)
            selection = self._selections[wanted] = replace(
                found, demanded=found.demanded + self._demanded, forbidden=found.forbidden + self._forbidden
            )
        return selection

    def _look_up(self, cell: Cell, image: Image) -> Selection:
        serve, settings = self._serve_of(cell), cell.settings
        try:
            return self._compat.select(
                image.release,
                all2all=settings.all2all,
                deep_gemm=settings.deep_gemm,
                data_parallel=serve.get("data_parallel", 1),
                expert_parallel=serve.get("expert_parallel", False),
                tensor_parallel=serve.get("tensor_parallel", 1),
                device=image.device,
            )
        except CompatError as error:
            raise MatrixError(error.what, where=serve_place(self._matrix, cell, "all2all"), hint=error.hint) from None

    def _layout(self, cell: Cell, image: Image) -> Layout:
        serve = self._serve_of(cell)
        try:
            layout = Layout.of({**serve, **rank_degrees(cell.settings.args)})
        except ValueError as error:
            (name,) = error.args
            raise MatrixError(
                f"cell {cell.slug}: {name} is a number of GPUs, at least 1",
                where=serve_place(self._matrix, cell, "args", name),
            ) from None
        if fault := layout.fault(image.device, serve.get("port")):
            key, what, hint = fault
            raise MatrixError(f"cell {cell.slug}: {what}", where=serve_place(self._matrix, cell, key), hint=hint)
        return layout

    def _deployment(self, cell: Cell, image: Image, selection: Selection, layout: Layout) -> Deployment:
        model = self._model(cell)
        return Deployment(
            cell.slug,
            image,
            model,
            layout,
            self._args(cell, selection),
            self._env(cell, selection, offline=model.digest is not None),
            selection,
        )

    def _model(self, cell: Cell) -> Model:
        serve = cell.settings.serve
        model = self._models.get(id(serve))
        if model is None:
            model = self._models[id(serve)] = model_of(self._matrix, cell, self._serve_of(cell))
        return model

    def _args(self, cell: Cell, selection: Selection) -> tuple[str, ...]:
        serve, args = cell.settings.serve, cell.settings.args
        head = self._heads.get((id(serve), id(selection)))
        if head is None:
            head = self._heads[id(serve), id(selection)] = (*_parallel_flags(dict(serve)), *selection.args)
        tail = self._tails.get((id(args), id(selection)))
        if tail is None:
            self._refuse_own_flags(cell, selection)
            refuse_flags_in_values(self._matrix, cell)
            tail = self._tails[id(args), id(selection)] = flags(args)
        return head + tail

    def _refuse_own_flags(self, cell: Cell, selection: Selection) -> None:
        # Thousands of cells give other values to the same flags.
        names: tuple[int | str, ...] = (id(selection), *(name for name, _ in cell.settings.args))
        if names in self._allowed:
            return
        refuse_own_flags(self._matrix, cell, selection, self._serve_of(cell).get("nodes", 1))
        self._allowed.add(names)

    def _refuse_secret(self, cell: Cell, name: str) -> None:
        if name in SECRETS:
            raise MatrixError(
                f"{name} is a secret and cannot stand in a matrix file",
                where=serve_place(self._matrix, cell, "env", name),
                hint=SECRETS[name],
            )

    def _env(self, cell: Cell, selection: Selection, *, offline: bool) -> tuple[tuple[str, str], ...]:
        wanted = (id(cell.settings.env), id(selection), offline)
        if wanted not in self._envs:
            self._envs[wanted] = self._make_env(cell, selection, offline=offline)
        return self._envs[wanted]

    def _make_env(self, cell: Cell, selection: Selection, *, offline: bool) -> tuple[tuple[str, str], ...]:
        env = dict(OFFLINE) if offline else {}
        chosen = dict(selection.env)
        network = dict(needs_of(self._serve_of(cell).get("fabric")).env)
        for name, value in cell.settings.env:
            self._refuse_secret(cell, name)
            if name in selection.unset or chosen.get(name, value) != value:
                raise MatrixError(
                    f"cell {cell.slug}: {name}={value} contradicts the cell's own choice of backend",
                    where=serve_place(self._matrix, cell, "env", name),
                    hint="leave the variable out; the switches all2all and deep_gemm set what this release needs",
                )
            if network.get(name, value) != value:
                raise MatrixError(
                    f"cell {cell.slug}: {name}={value} contradicts the cell's own fabric, which sets {network[name]}",
                    where=serve_place(self._matrix, cell, "env", name),
                    hint="leave the variable out, or leave fabric out and set all of its variables",
                )
        return tuple(sorted((env | chosen | network | dict(cell.settings.env)).items()))


def _parallel_flags(serve: Mapping[str, Any]) -> tuple[str, ...]:
    """The degrees of parallelism, always said, since defaults change between releases."""
    line = ["--tensor-parallel-size", str(serve.get("tensor_parallel", 1))]
    if serve.get("data_parallel", 1) > 1:
        line += ["--data-parallel-size", str(serve["data_parallel"])]
    if serve.get("expert_parallel"):
        line.append("--enable-expert-parallel")
    if serve.get("revision"):
        line += ["--revision", serve["revision"]]
    return tuple(line)
