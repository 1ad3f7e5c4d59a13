"""A site for locks: a recipe with a repository, an archive and an image, and a directory where these really are."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RECIPE = """
from vep_dagger.dsl import Build, Image, LayerPins, Pins, Stack, git, http, image, layer, recipe


class ToolPins(LayerPins):
    version: str = "v1"
    commit: str | None = None
    base: str = "IMAGE"
    digest: str | None = None


class DataPins(LayerPins):
    name: str = "data-1.tar"
    sha256: str | None = None


@layer(prefix="/opt/tool", source=lambda pins: image(pins.base, pins.digest))
def tool(build: Build, pins: ToolPins) -> Build:
    return build.mount(git("https://git.invalid/tool.git", pins.commit, ref=pins.version), "/src").run("make")


@layer(prefix="/opt/data", source=image("IMAGE"))
def data(build: Build, pins: DataPins) -> Build:
    return build.mount(http(f"http://files.invalid/{pins.name}", pins.sha256), "/src").run("make")


class OwnPins(Pins):
    tool: ToolPins = ToolPins()
    data: DataPins = DataPins()


@recipe("own")
def own(pins: OwnPins) -> Image:
    stack = Stack(pins)
    return Image("own", "own", "1", image("IMAGE"), Build(), (stack(tool), stack(data)), device="cpu")
"""


class Files:
    """A web server on loopback whose files are those of a directory; it counts what it is asked for, and tells of its
    files as much as it is told to.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.asked: list[str] = []
        """Files, whole."""
        self.questions: list[str] = []
        """HEAD."""
        self.untold: set[str] = set()
        """Headers that it leaves out."""
        self.etag: str | None = None
        self.answers_head = True
        self.authorisations: set[str | None] = set()
        site = self

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                site.asked.append(self.path)
                site.authorisations.add(self.headers.get("Authorization"))
                super().do_GET()

            def do_HEAD(self) -> None:
                site.questions.append(self.path)
                if site.answers_head:
                    super().do_HEAD()
                else:
                    self.send_error(405)

            def send_header(self, keyword: str, value: str) -> None:
                if keyword not in site.untold:
                    super().send_header(keyword, value)

            def end_headers(self) -> None:
                if site.etag is not None:
                    super().send_header("ETag", site.etag)
                super().end_headers()

            def log_message(self, *arguments: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Handler(*given, directory=str(directory)))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def put(self, name: str, content: bytes, age_s: float = 3600) -> str:
        """Offer a file that is so old; its sha256."""
        file = self.directory / name
        file.write_bytes(content)
        made = time.time() - age_s
        os.utime(file, (made, made))
        return hashlib.sha256(content).hexdigest()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


class Repository:
    """A git repository of this machine, with the branch main."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.git("config", "user.email", "a@b.c")
        self.git("config", "user.name", "a")

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def git(self, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=self.path, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, text: str) -> str:
        (self.path / "text").write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", text)
        return self.git("rev-parse", "HEAD")


class LockLab:
    """A directory with a recipe and a matrix file, and what their pins name: a repository, a web server, an archive of
    an image."""

    def __init__(self, folder: Path, repository: Repository, files: Files, image: Path) -> None:
        self.repository, self.files, self.image = repository, files, image
        self.matrix = folder / "matrix.toml"
        self.mirrors = {"https://git.invalid/tool.git": repository.url, "http://files.invalid/": files.url}
        (folder / "recipe.py").write_text(RECIPE.replace("IMAGE", f"oci-archive:{image.name}"))
        self.write()

    @property
    def lock(self) -> Path:
        return self.matrix.with_suffix(".lock")

    def write(self, pins: str = "", **mirrors: str) -> None:
        """The matrix file, with these pins."""
        every = self.mirrors | mirrors
        rows = "".join(f'"{prefix}" = "{instead}"\n' for prefix, instead in every.items())
        self.matrix.write_text(f'recipe = "recipe.py:own"\n[pins]\n{pins}\n[mirrors]\n{rows}')
