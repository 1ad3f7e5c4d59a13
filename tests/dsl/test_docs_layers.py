"""The examples of ``docs/layers.md`` do what the text says of them."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vep_dagger.dsl import LayerDef, Pins, Stack

TEXT = (Path(__file__).parent.parent.parent / "docs" / "layers.md").read_text(encoding="utf-8")
A_LAYER, A_RECIPE = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def module_of(text: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    file = directory / "vep_docs_example.py"
    file.write_text(text)
    spec = importlib.util.spec_from_file_location("vep_docs_example", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "vep_docs_example", module)
    spec.loader.exec_module(module)
    return module


def test_the_layer_is_made_with_its_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gdrcopy = module_of(A_LAYER, tmp_path, monkeypatch).gdrcopy
    assert isinstance(gdrcopy, LayerDef)
    made = Stack(Pins())(gdrcopy)
    assert made.prefix == "/opt/gdrcopy"
    assert [check.name for check in made.build.checks] == ["gdrcopy loads"]


def test_the_recipe_makes_an_image_of_its_pins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert module_of(A_RECIPE, tmp_path, monkeypatch).mine.image({"vllm": "0.30.0"}).tag == "mine0.30.0"
