from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import vep_dagger.report.html as page
from tests.report.example import Run
from vep_dagger.errors import EvidenceError
from vep_dagger.report.model import Summary
from vep_dagger.report.write import NAMES, write_report

ROOT = Path(__file__).parents[2]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_the_same_summary_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    first = write_report(run.summary(), tmp_path / "a")
    assert tuple(path.name for path in first) == NAMES
    write_report(run.summary(), tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert set(contents(tmp_path / "a")) == {*NAMES, ".stamp"}, "nothing half-made is left"


def test_an_equal_report_is_not_written_again_and_imports_nothing_heavy(summary: Summary, tmp_path: Path) -> None:
    paths = write_report(summary, tmp_path)
    before = [path.stat().st_mtime_ns for path in paths]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from tests.report.example import example\n"
        "from vep_dagger.report.write import write_report\n"
        "write_report(example().summary(), Path(sys.argv[2]))\n"
        "print([name for name in ('plotly', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT), str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
    assert [path.stat().st_mtime_ns for path in paths] == before


@pytest.mark.parametrize("change", ["records", "release", "a file is gone"])
def test_a_report_that_is_not_equal_is_written(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    write_report(run.summary(), tmp_path)
    before = (tmp_path / "index.html").stat().st_mtime_ns
    if change == "records":
        run.change("build:img-0.10.1.1", seconds=1.0)
    elif change == "release":
        monkeypatch.setattr("vep_dagger.report.write.__version__", "0.2.0")
    else:
        (tmp_path / "junit.xml").unlink()
    write_report(run.summary(), tmp_path)
    assert (tmp_path / "index.html").stat().st_mtime_ns > before
    assert set(contents(tmp_path)) == {*NAMES, ".stamp"}


def test_a_report_that_was_cut_off_does_not_pass_for_a_whole_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run.summary()
    write_report(first, tmp_path)
    whole = contents(tmp_path)
    run.change("build:img-0.10.1.1", seconds=1.0)
    with monkeypatch.context() as patch:
        # The page is written, and then the machine dies.
        patch.setattr("vep_dagger.report.markdown.report_markdown", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_report(run.summary(), tmp_path)
    write_report(first, tmp_path)
    assert contents(tmp_path) == whole


def test_a_page_without_measurements_is_small(run: Run) -> None:
    run.records = {}
    assert len(page.report_html(run.summary())) < 100_000


def test_a_folder_that_cannot_be_written_is_said(summary: Summary, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EvidenceError, match="cannot be written") as caught:
        write_report(summary, tmp_path / "file" / "report")
    assert caught.value.hint
