"""The run directory: records with their logs, written whole, read again, resumed.

::

    runs/<id>/
      run.json                          what the run is; format, machine
      plan.json                         the plan that it follows
      images/<key>/build.json           one record a job, with build.log beside it
      cells/<slug>/smoke.json
      cells/<slug>/bench-<workload>.json
      cells/<slug>/bench-<workload>/    raw results of its repeats, and the client's logs
      cells/<slug>/servers/<n>/         server.log of the n-th start
      superseded/<n>/                   what an edited matrix made invalid: set aside, never deleted
      report/                           index.html, report.md, junit.xml, results.csv, pick.json
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from vep_dagger.errors import EvidenceError, MachineError
from vep_dagger.evidence.files import write_whole
from vep_dagger.evidence.record import FORMAT, RECORD, AnyRecord
from vep_dagger.evidence.runfile import RunFile
from vep_dagger.plan.document import PlanDoc


@dataclass(frozen=True, slots=True)
class Standing:
    """What of an earlier run still belongs to a plan: its valid records by job id, and the files that no longer do."""

    records: Mapping[str, AnyRecord] = field(default_factory=dict)
    invalid: tuple[str, ...] = ()
    """Job ids whose record is of another key or of no job of the plan any more."""


class RunDirectory:
    """One run's evidence on disk."""

    def __init__(self, path: Path) -> None:
        # Servers and clients work in directories of their own, so a relative path would mean another place to them.
        self.path = path.absolute()

    @classmethod
    def create(cls, path: Path, head: RunFile, plan: PlanDoc) -> RunDirectory:
        """Begin a run. Raises EvidenceError if something is there already, but for what a run that was killed here has
        left; MachineError if it cannot be written."""
        directory = cls(path)
        with writing(path):
            if not directory._is_free():
                raise EvidenceError(
                    "the output directory is not empty",
                    where=str(path),
                    hint="add --resume to go on with the run in it, or choose another --out",
                )
            path.mkdir(parents=True, exist_ok=True)
            try:
                directory.write_plan(plan)
                # Last, since a directory without it is no run.
                write_whole(path / "run.json", _text(head.model_dump(mode="json")))
            except (OSError, MachineError):
                directory.withdraw()
                raise
        return directory

    def withdraw(self) -> None:
        """Take a run back that has only just begun: on this machine it cannot go on, and nothing is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run. Raises EvidenceError if it is none, or of another format."""
        directory = cls(path)
        directory.head()
        return directory

    def head(self) -> RunFile:
        """``run.json``. Raises EvidenceError."""
        file = self.path / "run.json"
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise EvidenceError("this is not a run directory: it has no run.json", where=str(self.path)) from None
        except (OSError, ValueError) as error:
            raise EvidenceError(f"run.json cannot be read: {error}", where=str(file)) from None
        found = data.get("format") if isinstance(data, dict) else None
        if found != FORMAT:
            made = f" by vep {data['vep']}" if isinstance(data, dict) and "vep" in data else ""
            raise EvidenceError(
                f"the run directory has format {found!r}, made{made}; this vep reads format {FORMAT}",
                where=str(file),
                hint="report it with the version that made it, or run again into another --out",
            )
        try:
            return RunFile.model_validate(data)
        except ValidationError as error:
            raise _damaged(file, error) from None

    def plan(self) -> PlanDoc:
        """``plan.json``. Raises EvidenceError."""
        file = self.path / "plan.json"
        try:
            return PlanDoc.model_validate_json(file.read_bytes())
        except FileNotFoundError:
            raise EvidenceError("the run directory has no plan.json", where=str(self.path)) from None
        except (OSError, ValidationError) as error:
            raise _damaged(file, error) from None

    def write_plan(self, plan: PlanDoc) -> None:
        """Replace the plan. Raises MachineError if the disk refuses."""
        with writing(self.path):
            write_whole(self.path / "plan.json", _text(plan.model_dump(mode="json")))

    def write(self, record: AnyRecord) -> Path:
        """Put a finished job's record in its place. Raises MachineError if the disk refuses."""
        place = self.path / record_place(record.job)
        with writing(place):
            write_whole(place, _text(record.model_dump(mode="json")))
        return place

    def standing(self, plan: PlanDoc) -> Standing:
        """What of the records on disk belongs to ``plan``, and what does not. Changes nothing."""
        keys = {job.id: job.key for job in plan.jobs}
        valid: dict[str, AnyRecord] = {}
        invalid: list[str] = []
        for file in sorted(self._record_files()):
            record = self._read(file)
            if keys.get(record.job) == record.key:
                valid[record.job] = record
            else:
                invalid.append(record.job)
        return Standing(valid, tuple(invalid))

    def supersede(self, jobs: tuple[str, ...]) -> Path | None:
        """Set the evidence of these jobs aside, so that they can run again; nothing is deleted. Gives where it went."""
        if not jobs:
            return None
        with writing(self.path):
            aside = self._next(self.path / "superseded")
            for job in jobs:
                record = self.path / record_place(job)
                for path in (record, record.with_suffix("")):
                    if path.exists():
                        target = aside / path.relative_to(self.path)
                        target.parent.mkdir(parents=True, exist_ok=True)
                        shutil.move(path, target)
        return aside

    def new_server_directory(self, slug: str) -> tuple[int, Path]:
        """A fresh directory for the next start of a cell's server, and its number (from 1)."""
        with writing(self.path):
            path = self._next(self.path / "cells" / slug / "servers")
        return int(path.name), path

    def fresh_bench_directory(self, slug: str, workload: str) -> Path:
        """An empty directory for a bench job's raw results; what a killed attempt left there counts for nothing and
        goes."""
        path = self.path / record_place(f"bench:{slug}:{workload}").with_suffix("")
        with writing(path):
            if path.exists():
                shutil.rmtree(path)
            path.mkdir(parents=True)
        return path

    def relative(self, path: Path) -> str:
        """How records name a file of this directory."""
        return path.relative_to(self.path).as_posix()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the directory for this process. Raises EvidenceError if another run has it."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise EvidenceError(
                f"the run directory is in use by another run{self._holder()}",
                where=str(self.path),
                hint="wait for it to end, or choose another --out",
            ) from None
        except OSError as error:
            raise _unwritable(error, self.path) from error
        try:
            with writing(self.path):
                (self.path / ".lock.pid").write_text(f"{os.getpid()}\n", encoding="ascii")
            yield
        finally:
            lock.release()

    def _is_free(self) -> bool:
        """Whether a run can begin here: nothing is there, or no more than :meth:`create` leaves when it is killed."""
        if not self.path.exists():
            return True
        if not self.path.is_dir():
            return False
        for file in self.path.iterdir():
            if file.name == "plan.json":
                try:
                    self.plan()
                except EvidenceError:
                    return False
            elif not file.name.startswith((".plan.json.", ".run.json.")):
                return False
        return True

    def _holder(self) -> str:
        try:
            return f" (process {int((self.path / '.lock.pid').read_text(encoding='ascii'))})"
        except (OSError, ValueError):
            return ""

    def _record_files(self) -> Iterator[Path]:
        yield from self.path.glob("images/*/build.json")
        yield from self.path.glob("cells/*/smoke.json")
        yield from self.path.glob("cells/*/bench-*.json")

    def _read(self, file: Path) -> AnyRecord:
        try:
            return RECORD.validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise _damaged(file, error) from None

    @staticmethod
    def _next(parent: Path) -> Path:
        parent.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.name) for path in parent.iterdir() if path.name.isdigit()), default=0)
        path = parent / str(number)
        path.mkdir()
        return path


def record_place(job: str) -> Path:
    """Where a job's record lies in the run directory."""
    kind, _, rest = job.partition(":")
    if kind == "build":
        return Path("images", rest, "build.json")
    slug, _, workload = rest.partition(":")
    return Path("cells", slug, f"bench-{workload}.json" if kind == "bench" else f"{kind}.json")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the disk's refusals into errors that say what to do."""
    try:
        yield
    except OSError as error:
        raise _unwritable(error, path) from error


def _unwritable(error: OSError, path: Path) -> MachineError:
    return MachineError(
        f"cannot write: {error.strerror or error}",
        where=str(error.filename or path),
        hint="free some space or choose another --out; what is written stays valid, and --resume goes on from it",
    )


def _damaged(file: Path, error: Exception) -> EvidenceError:
    detail = error.errors(include_url=False)[0]["msg"] if isinstance(error, ValidationError) else str(error)
    return EvidenceError(
        f"{file.name} is damaged: {detail}",
        where=str(file),
        hint="move it away; its job will run again with --resume",
    )


def _text(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"
