"""The keys of the repository's own image, as they were when somebody last looked.

A key that changes costs its users a rebuild of hours, so that it must not change by accident. When a change is meant::

    VEP_UPDATE_GOLDEN=1 python -m pytest tests/layers/test_layers_golden.py

writes the file again (and passes); the difference is reviewed and committed with the change.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from vep_dagger.dsl import Image

GOLDEN = Path(__file__).with_name("golden_vllm_ep.json")


def test_the_keys_of_the_seed_are_those_of_the_golden_file(
    seed: Callable[..., Image], keys: Callable[[Image], dict[str, str]]
) -> None:
    image = seed()
    now = {"tag": image.tag, "image": image.key, "layers": dict(sorted(keys(image).items()))}
    if os.environ.get("VEP_UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")

    assert now == json.loads(GOLDEN.read_text(encoding="utf-8")), f"see {__file__} for how to write it again"
