"""From a matrix to its plan. Pure: no engine, no network, the same on every machine.

A matrix can have a hundred thousand cells and few different images, selections and servers, so each of those is made
once and looked up by the identity of the settings that decide it (:class:`vep_dagger.matrix.cell.Settings` shares equal
fields between cells).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vep_dagger.compat import Compat
from vep_dagger.compat.rules import LineRule, Selection
from vep_dagger.dsl import Image, Impossible, Recipe
from vep_dagger.errors import CompatError, MatrixError, VepError, did_you_mean
from vep_dagger.matrix import Cell, Matrix, expand
from vep_dagger.matrix.cell import thaw
from vep_dagger.matrix.lock import Lock
from vep_dagger.plan.collector import collector_paused
from vep_dagger.plan.deployment import OWN_BENCH_FLAGS, OWN_FLAGS, SECRETS, Deployment, Model, flag_name, flags
from vep_dagger.plan.fabrics import needs_of, why_impossible
from vep_dagger.plan.locking import locked
from vep_dagger.plan.model_source import directory_digest, is_directory_name
from vep_dagger.plan.nodes import LAYOUT_FLAGS, Layout
from vep_dagger.plan.places import pin_place, serve_place
from vep_dagger.plan.plan import Plan, PlannedCell
from vep_dagger.recipes.registry import find_recipe

OFFLINE = (("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"))
"""Set for a model that is a directory: nothing of it is on the hub, and a server must not wait for one that cannot be
reached."""


def make_plan(
    matrix: Matrix, *, only: str | None = None, compat: Compat | None = None, lock: Lock | None = None
) -> Plan:
    """The plan of a matrix, or of those cells that the expression ``only`` chooses; with all that ``lock`` knows.

    Raises MatrixError (with the place in the file) for whatever the file says wrong, UsageError for a bad expression.
    """
    recipe = find_recipe(matrix.file.recipe, matrix.path.parent)
    _refuse_own_bench_flags(matrix)
    with collector_paused():
        cells = expand(matrix, tuple(recipe.pins_type.model_fields))
        planner = _Planner(matrix, recipe, compat or Compat.load(), lock)
        # All of them, also with an expression: whose name a shared server bears must not depend on which cells were
        # chosen.
        planned = tuple(map(planner.plan, cells))
    return Plan(matrix, None, planned, planner.warnings, lock, planner.recipes_own).choose(only)


def load_plan(path: Path, *, only: str | None = None, overlay: Path | None = None) -> Plan:
    """The plan of a matrix file and the lock beside it; ``overlay`` is a file that corrects the compatibility data."""
    return make_plan(Matrix.load(path), only=only, compat=Compat.load(overlay), lock=Lock.of(path))


class _Planner:
    """Makes each image, selection and server once."""

    def __init__(self, matrix: Matrix, recipe: Recipe[Any], compat: Compat, lock: Lock | None) -> None:
        self._matrix = matrix
        self._lock = lock
        self._recipe = recipe
        self._compat = compat
        self._images: dict[int, Image] = {}
        self._impossible: dict[int, str] = {}
        self.recipes_own: dict[str, list[Image]] = {}
        """The images as the recipe made them, by the keys that they have with the lock."""
        self._selections: dict[tuple[object, ...], Selection] = {}
        self._deployments: dict[int, Deployment] = {}
        self._serve: dict[int, Mapping[str, Any]] = {}
        self._models: dict[int, Model] = {}
        self._heads: dict[tuple[int, int], tuple[str, ...]] = {}
        self._tails: dict[tuple[int, int], tuple[str, ...]] = {}
        self._envs: dict[tuple[int, int, bool], tuple[tuple[str, str], ...]] = {}
        self._allowed: set[tuple[int | str, ...]] = set()
        self.warnings: dict[str, str] = {}
        """By the vLLM release that they are about."""
        smoke = matrix.file.smoke
        self._demanded = tuple(LineRule(f"text {text!r}", re.escape(text)) for text in smoke.demand)
        self._forbidden = tuple(LineRule(f"text {text!r}", re.escape(text)) for text in smoke.forbid)

    def plan(self, cell: Cell) -> PlannedCell:
        settings = cell.settings
        # Cells that agree in all share one Settings object, and those that agree in a field share the field's, so an id
        # stands for a value here and in all that follows.
        deployment = self._deployments.get(id(settings))
        if deployment is None:
            image = self._images.get(id(settings.pins)) or self._image(cell)
            if image is None:
                return PlannedCell(cell, None, None, self._impossible[id(settings.pins)])
            if self._matrix.file.serve is None:
                return PlannedCell(cell, image)
            selection = self._select(cell, image)
            if selection.impossible:
                return PlannedCell(cell, None, None, selection.impossible)
            layout = self._layout(cell, image)
            if reason := why_impossible(layout.fabric, settings.all2all):
                return PlannedCell(cell, None, None, reason)
            deployment = self._deployments[id(settings)] = self._deployment(cell, image, selection, layout)
        return PlannedCell(cell, deployment.image, deployment)

    def _image(self, cell: Cell) -> Image | None:
        """The image of the cell's pins; None if they are known not to work together."""
        pins = cell.settings.pins
        if id(pins) in self._impossible:
            return None
        try:
            own = self._recipe.image({name: thaw(value) for name, value in pins})
        except ValidationError as error:
            raise self._pin_error(cell, error) from None
        except Impossible as reason:
            self._impossible[id(pins)] = str(reason)
            return None
        image = locked(own, self._lock) if self._lock else own
        self._images[id(pins)] = image
        self.recipes_own.setdefault(image.key, []).append(own)
        if self._matrix.file.serve is None:
            return image  # nobody asks what its vLLM does, or whether it has one
        try:
            release = self._compat.release(image.release)
        except CompatError as error:
            raise MatrixError(error.what, where=pin_place(self._matrix, cell, "vllm"), hint=error.hint) from None
        if release.known_as:
            self.warnings[image.release] = (
                f"vLLM {image.release} is not known here: it is used as {release.known_as}, "
                "so what proves a backend may be out of date"
            )
        return image

    def _pin_error(self, cell: Cell, error: ValidationError) -> VepError:
        first = error.errors(include_url=False)[0]
        pin, *inside = [str(part) for part in first["loc"]] or ["vllm"]
        name = inside[-1] if inside else pin
        place = pin_place(self._matrix, cell, pin, key=first["type"] == "extra_forbidden")
        if first["type"] == "extra_forbidden":
            what = f"the pin {pin} has no key {name!r}" if inside else f"recipe {self._recipe.name} has no pin {name!r}"
            return MatrixError(what, where=place, hint=did_you_mean(name, self._known_pins(pin if inside else None)))
        if first["type"] == "missing":
            return MatrixError(
                f"recipe {self._recipe.name} needs the pin {name!r}",
                where=place,
                hint=f"set it in [pins] or in an axis named {name}",
            )
        cause = first.get("ctx", {}).get("error")
        what = str(cause) if cause else f"{first['msg'][:1].lower()}{first['msg'][1:]}, got {first['input']!r}"
        return MatrixError(f"pin {'.'.join((pin, *inside))}: {what}", where=place)

    def _known_pins(self, pin: str | None) -> list[str]:
        """The recipe's pins, or the keys of one pin's table."""
        fields = self._recipe.pins_type.model_fields
        table = fields[pin].annotation if pin else None
        return list(getattr(table, "model_fields", fields))

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
        layout = Layout.of(serve)
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

    def _args(self, cell: Cell, selection: Selection) -> tuple[str, ...]:
        serve, args = cell.settings.serve, cell.settings.args
        head = self._heads.get((id(serve), id(selection)))
        if head is None:
            head = self._heads[id(serve), id(selection)] = (*_parallel_flags(dict(serve)), *selection.args)
        tail = self._tails.get((id(args), id(selection)))
        if tail is None:
            self._refuse_own_flags(cell, selection)
            tail = self._tails[id(args), id(selection)] = flags(args)
        return head + tail

    def _refuse_own_flags(self, cell: Cell, selection: Selection) -> None:
        # Thousands of cells give other values to the same flags.
        names: tuple[int | str, ...] = (id(selection), *(name for name, _ in cell.settings.args))
        if names in self._allowed:
            return
        own = {flag_name(flag.removeprefix("--")) for flag in selection.args if flag.startswith("--")} | OWN_FLAGS
        for name, _ in cell.settings.args:
            self._refuse_secret(cell, "args", name, flag_name(name))
            if flag_name(name) in own or flag_name(name).removeprefix("no-") in own:
                raise MatrixError(
                    f"--{flag_name(name)} is given by vep itself",
                    where=serve_place(self._matrix, cell, "args", name),
                    hint="use the key of [serve] or the switch that sets it: model, revision, tensor_parallel, "
                    "data_parallel, expert_parallel, all2all, deep_gemm, host, port",
                )
            if flag_name(name).removeprefix("no-") in LAYOUT_FLAGS and self._serve_of(cell).get("nodes", 1) > 1:
                raise MatrixError(
                    f"--{flag_name(name)} lays a server of several nodes out, which vep does itself",
                    where=serve_place(self._matrix, cell, "args", name),
                    hint="leave it out: nodes, data_parallel and rpc_port of [serve] say it",
                )
        self._allowed.add(names)

    def _refuse_secret(self, cell: Cell, table: str, name: str, secret: str) -> None:
        if secret in SECRETS:
            raise MatrixError(
                f"{name} is a secret and cannot stand in a matrix file",
                where=serve_place(self._matrix, cell, table, name),
                hint=SECRETS[secret],
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
            self._refuse_secret(cell, "env", name, name)
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

    def _model(self, cell: Cell) -> Model:
        serve = cell.settings.serve
        model = self._models.get(id(serve))
        if model is None:
            table = self._serve_of(cell)
            source = table["model"]
            digest = self._read_digest(cell, source) if is_directory_name(source) else None
            name = table.get("served_model_name") or (Path(source).name if digest else source)
            model = self._models[id(serve)] = Model(source, digest, name)
        return model

    def _read_digest(self, cell: Cell, model: str) -> str:
        directory = self._matrix.path.parent / model
        place = serve_place(self._matrix, cell, "model")
        if not (directory / "config.json").is_file():
            missing = "does not exist" if not directory.exists() else "holds no config.json"
            raise MatrixError(
                f"the model directory {model} {missing}",
                where=place,
                hint="paths are relative to the matrix file; a model of the hub is written without a leading . or /",
            )
        try:
            return directory_digest(directory)
        except OSError as error:
            raise MatrixError(f"the model directory {model} cannot be read: {error.strerror}", where=place) from None


def _refuse_own_bench_flags(matrix: Matrix) -> None:
    for number, load in enumerate(matrix.file.bench):
        for name in load.args:
            if flag_name(name) in OWN_BENCH_FLAGS:
                raise MatrixError(
                    f"--{flag_name(name)} is given by vep itself",
                    where=matrix.document.locate(("bench", number, "args", name), key=True),
                    hint="use the key of [[bench]] that sets it; a header with a key is a secret, and stands nowhere",
                )


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
