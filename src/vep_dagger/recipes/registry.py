"""Recipes by the name that a matrix file gives: built-in ones, and functions of a user's own file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import linecache
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from vep_dagger.dsl import Recipe
from vep_dagger.errors import Location, MatrixError, did_you_mean

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "vllm-cpu": "vep_dagger.recipes.vllm_cpu:vllm_cpu",
        "vllm-ep": "vep_dagger.recipes.vllm_ep:vllm_ep",
    }
)
"""Module and attribute of each built-in recipe; a module is imported when its recipe is asked for."""


def find_recipe(name: str, beside: Path) -> Recipe[Any]:
    """The recipe called ``name``: a built-in one, or ``path/to/file.py:function`` relative to the directory ``beside``.

    Raises MatrixError for a name, file or function that does not exist, for a function that is no recipe, and for a
    file that fails to import (with the file and line of the failure).
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        found: Recipe[Any] = getattr(importlib.import_module(module), attribute)
        return found
    path, _, function = name.rpartition(":")
    if not path.endswith(".py"):
        raise MatrixError(
            f"there is no recipe {name!r}",
            hint=f"{did_you_mean(name, BUILT_IN)}; a recipe of your own is written path/to/file.py:function",
        )
    file = (beside / path).resolve()
    if not file.is_file():
        raise MatrixError(f"recipe {name!r}: there is no file {file}", hint="the path is relative to the matrix file")
    return _recipe_in(_load(file, name), file, function, name)


def _recipe_in(module: ModuleType, file: Path, function: str, name: str) -> Recipe[Any]:
    found = vars(module).get(function)
    if isinstance(found, Recipe):
        return found
    recipes = [key for key, value in vars(module).items() if isinstance(value, Recipe)]
    if found is not None:
        raise MatrixError(
            f"recipe {name!r}: {function!r} is no recipe, but {type(found).__name__}",
            where=str(file),
            hint='put @recipe("its-name") of vep_dagger.dsl above the function',
        )
    hint = did_you_mean(function, recipes) if recipes else "the file declares no recipe"
    raise MatrixError(f"recipe {name!r}: the file has no {function!r}", where=str(file), hint=hint)


def _load(file: Path, name: str) -> ModuleType:
    # The name is of the whole path, so that two files called recipe.py do not meet; it must be importable by name
    # afterwards, since annotations are looked up through sys.modules.
    module_name = f"vep_recipe_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:12]}"
    if module_name in sys.modules:
        return sys.modules[module_name]
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None, "the name ends with .py"
    assert spec.loader is not None, "so it has the loader of source files"
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        with _siblings_importable(file.parent):
            spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[module_name]
        if not isinstance(error, Exception):
            raise
        raise MatrixError(
            f"recipe {name!r}: importing its file failed: {type(error).__name__}: {_message(error)}",
            where=_where(error, file),
        ) from error
    return module


@contextmanager
def _siblings_importable(directory: Path) -> Iterator[None]:
    """Let the file import the files beside it, as a script could."""
    sys.path.insert(0, str(directory))
    try:
        yield
    finally:
        sys.path.remove(str(directory))


def _message(error: Exception) -> str:
    return error.msg if isinstance(error, SyntaxError) else str(error)


def _where(error: Exception, file: Path) -> Location:
    """The innermost line of the user's own file that the failure passed through; of a file that it imports, if that
    does not parse.
    """
    if isinstance(error, SyntaxError) and error.filename and error.lineno:
        where, line, column = error.filename, error.lineno, max(1, error.offset or 1)
    else:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        where, line, column = str(file), (frames[-1].lineno if frames else None) or 1, 1
    excerpt = linecache.getline(where, line).rstrip("\n")
    if column == 1:
        column = len(excerpt) - len(excerpt.lstrip()) + 1
    return Location(where, line, column, excerpt, max(1, len(excerpt) - column + 1))
