"""A user's own recipe around a stand-in vLLM, run by the real command line, builder and launcher."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

RECIPE = """
from vep_dagger.dsl import PLAIN, Build, Image, Pins, Version, recipe

class OwnPins(Pins):
    vllm: Version = "0.32.0"

@recipe("own")
def own(pins: OwnPins) -> Image:
    build = Build().python(">=3.11").install(f"vllm=={pins.vllm}")
    return Image("own", f"own{pins.vllm}", pins.vllm, PLAIN, build, device="cpu")
"""

MATRIX = """
recipe = "own.py:own"
[axes.size]
small = { args = { max-num-seqs = 1 } }
large = { args = { max-num-seqs = 8 } }
[serve]
model = "./model"
served_model_name = "tiny"
[smoke.deadlines]
stop = 5
[[bench]]
name = "short"
input_len = 4
output_len = 4
num_prompts = 20
repeats = 3
[[bench]]
name = "long"
input_len = 4
output_len = 16
num_prompts = 20
repeats = 3
"""


class Site:
    """A folder with a matrix, a recipe, a model and a wheel; a cache of its own; and the command line."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self.matrix = folder / "matrix.toml"
        self.matrix.write_text(MATRIX)
        (folder / "own.py").write_text(RECIPE)
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text("{}")
        (folder / "links").mkdir()
        wheel(folder / "links")
        kept = {name: value for name, value in os.environ.items() if not re.match(r"(UV|PIP|VEP)_|VIRTUAL_ENV", name)}
        self.environ = {
            **kept,
            "UV_FIND_LINKS": str(folder / "links"),
            "UV_OFFLINE": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "UV_CACHE_DIR": str(cache / "uv"),
            "VEP_CACHE_DIR": str(cache / "vep"),
        }

    def command(self, *args: str) -> list[str]:
        """A ``vep`` command line."""
        return [sys.executable, "-m", "vep_dagger.cli", *args]

    def vep(self, *args: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run ``vep`` to its end."""
        return subprocess.run(
            self.command(*args), cwd=self.folder, env=self.environ, capture_output=True, text=True, timeout=timeout_s
        )

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        """Start ``vep`` in a session of its own."""
        with (self.folder / "vep.log").open("ab") as log:
            process = subprocess.Popen(
                self.command(*args), cwd=self.folder, env=self.environ, stdout=log, stderr=log, start_new_session=True
            )
        self._started.append(process)
        return process

    def close(self) -> None:
        """End what a failed test has left."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()

    def alive(self) -> list[int]:
        """The processes of this folder's runs that live: all that work in it, and all that ``vep`` marks as its own and
        whose programs come from this cache."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or int(entry.name) == os.getpid():
                    continue
                inside = (entry / "cwd").readlink().is_relative_to(self.folder)
                ours = os.fsencode(self.environ["VEP_CACHE_DIR"]) in (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if inside or ours:
                found.append(int(entry.name))
        return found

    def records(self, run: str = "run") -> dict[str, str]:
        """Job and verdict of every record of a run."""
        found = {}
        for file in sorted((self.folder / run).glob("*/*/*.json")):
            record = json.loads(file.read_text())
            found[record["job"]] = record["verdict"]
        return found


def wheel(links: Path) -> None:
    """Pack the stand-in as the wheel of vllm 0.32.0."""
    source = (Path(__file__).parent / "standin_vllm.py").read_text()
    content = {
        "vllm/__init__.py": source,
        "vllm-0.32.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0\n",
        "vllm-0.32.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "vllm-0.32.0.dist-info/entry_points.txt": "[console_scripts]\nvllm = vllm:main\n",
    }
    content["vllm-0.32.0.dist-info/RECORD"] = "".join(
        f"{name},,\n" for name in [*content, "vllm-0.32.0.dist-info/RECORD"]
    )
    with zipfile.ZipFile(links / "vllm-0.32.0-py3-none-any.whl", "w") as file:
        for name, text in content.items():
            file.writestr(name, text)
