"""What enroot reads of an image."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from vep_dagger.errors import BuildError
from vep_dagger.squash.enroot_form import ImageConfig, files_of, label_in, provenance_in, quoted, warnings_of

NVIDIA = ("NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility")


@pytest.mark.parametrize("word", ["vllm", "", "two words", "it's", "$HOME `x` \\", 'a "b"', "a\nb", "\t'\\\x1b\x01é"])
def test_words_are_quoted_as_enroots_bash_quotes_them(word: str, needs: Callable[[str, str], str]) -> None:
    bash = needs("bash", "apt-get install bash")
    done = subprocess.run(
        [bash, "-c", 'printf %s "${1@Q}"', "-", word], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert quoted(word) == done.stdout.decode()


def test_the_script_is_that_of_enroots_import() -> None:
    config = ImageConfig(entrypoint=("/entry", "a b"), cmd=("serve",), workdir="/srv", labels={"x": "1\n2"})
    assert files_of(config, "vep://t@sha256:0")["etc/rc"] == (
        "# enroot-provenance: vep://t@sha256:0\n"
        "# x 1 2\n"
        "\n"
        'mkdir -p "/srv" 2> /dev/null\n'
        'cd "/srv" && unset OLDPWD || exit 1\n'
        "\n"
        "if [ -s /etc/rc.local ]; then\n"
        "    . /etc/rc.local\n"
        "fi\n"
        "\n"
        "if [ $# -gt 0 ]; then\n"
        "    exec '/entry' 'a b' \"$@\"\n"
        "else\n"
        "    exec '/entry' 'a b' 'serve'\n"
        "fi\n"
    )


def test_an_image_without_entry_and_command_gets_a_shell() -> None:
    assert "    exec  '/bin/sh'\n" in files_of(ImageConfig(), "vep://t@sha256:0")["etc/rc"]


def test_a_path_that_a_profile_has_taken_away_comes_back_and_a_chosen_one_stays(tmp_path: Path) -> None:
    script = tmp_path / "rc.local"
    script.write_text(files_of(ImageConfig(env=("PATH=/opt/x/bin:/bin",)), "vep://t@sha256:0")["etc/rc.local"])

    def path_after(path: str) -> str:
        words = ["/bin/sh", "-c", f'. {script}; echo "$PATH"']
        return subprocess.run(words, env={"PATH": path}, capture_output=True, text=True, check=True).stdout.strip()

    assert path_after("/usr/bin:/bin") == "/opt/x/bin:/bin"
    assert path_after("/mine:/opt/x/bin") == "/mine:/opt/x/bin"


def test_variables_and_volumes_are_lines_and_quotes_survive_enroots_taking_them_away() -> None:
    config = ImageConfig(env=("A=1", "B='x y'", "C=a=b"), volumes=("/data",))
    files = files_of(config, "vep://t@sha256:0")
    assert files["etc/environment"] == "A=1\nB=\"'x y'\"\nC=a=b\n"
    assert files["etc/fstab"] == "${ENROOT_ROOTFS}/data /data none x-create=dir,bind,rw,nosuid,nodev\n"


def test_a_variable_of_several_lines_is_refused() -> None:
    with pytest.raises(BuildError, match="variable A has several lines"):
        files_of(ImageConfig(env=("A=1\nB=2",)), "vep://t@sha256:0")


def test_what_enroot_changes_is_said() -> None:
    told = warnings_of(ImageConfig(env=("A=${HOME}", "ENROOT_X=1", "B=$HOME", *NVIDIA)), gpu=True)
    assert told == (
        "enroot replaces ${…} in the variable A by variables of the host",
        "enroot leaves the variable ENROOT_X out",
    )
    quoted_value = ImageConfig(env=("A='x y'",))
    assert warnings_of(quoted_value, gpu=False) == ()
    told = warnings_of(quoted_value, gpu=False, imported=True)
    assert told == ("enroot takes the quotes around the variable A away",)


def test_an_image_for_gpus_that_enroot_would_start_without_is_told_of() -> None:
    assert len(warnings_of(ImageConfig(), gpu=True)) == 2
    assert warnings_of(ImageConfig(), gpu=False) == ()
    assert warnings_of(ImageConfig(env=NVIDIA), gpu=True) == ()


def test_the_script_says_what_the_image_was_made_of() -> None:
    rc = files_of(ImageConfig(labels={"dev.vep.image": "abc"}), "vep://t@sha256:0")["etc/rc"]
    assert (provenance_in(rc), label_in(rc, "dev.vep.image")) == ("vep://t@sha256:0", "abc")
    assert (provenance_in("#!/bin/sh\n"), label_in("", "dev.vep.image")) == (None, None)
