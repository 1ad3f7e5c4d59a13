"""Free and fixed ports."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vep_dagger.errors import MachineError
from vep_dagger.launchers import ports


def test_a_free_port_is_below_those_of_outgoing_connections() -> None:
    low = int(ports.EPHEMERAL.read_text().split()[0])
    with ports.reserved("127.0.0.1", None) as port:
        assert 1024 <= port < low
        assert not ports.listens("127.0.0.1", port)


def test_where_outgoing_connections_take_the_low_ports_a_free_one_is_above_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "range").write_text("1024\t50000\n")
    monkeypatch.setattr(ports, "EPHEMERAL", tmp_path / "range")
    assert min(ports.candidates()) > 50000


def test_a_port_is_held_against_another_vep_until_it_is_given_back_or_that_one_is_killed() -> None:
    text = (
        "import sys, time\nfrom vep_dagger.launchers import ports\n"
        "with ports.reserved('127.0.0.1', None) as port:\n    print(port, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        kept = pytest.raises(ports.PortError, match=f"port {port} is kept by another server of vep")
        with kept, ports.reserved("127.0.0.1", port):
            pass
        other.kill()
        other.wait()
        with ports.reserved("127.0.0.1", port) as ours:
            assert ours == port


def test_a_port_that_is_kept_or_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as used, ports.reserved("127.0.0.1", None) as kept:
        monkeypatch.setattr(ports, "candidates", lambda: [kept, used.getsockname()[1]])
        with pytest.raises(MachineError, match="no free port"), ports.reserved("127.0.0.1", None):
            pass


def listen_without_privileges(port: int, prelude: str = "") -> str:
    """What is said of a port on the loopback to somebody whose root is of a user namespace alone."""
    program = shutil.which("unshare")
    if program is None or subprocess.run([program, "-r", "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces: allow unprivileged ones, or run as root")
    code = (
        f"from pathlib import Path\nfrom vep_dagger.launchers import ports\n{prelude}\n"
        f"try:\n    print(ports.listens('127.0.0.1', {port}))\n"
        "except ports.PortError as error:\n    print(error.render())"
    )
    done = subprocess.run([program, "-r", sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def first_for_everybody() -> int:
    first = int(ports.UNPRIVILEGED.read_text())
    if first <= 1:
        pytest.skip("needs privileged ports: sysctl net.ipv4.ip_unprivileged_port_start=1024")
    return first


def test_a_privileged_port_is_refused_to_whoever_lacks_the_privilege_with_what_it_takes() -> None:
    first = first_for_everybody()
    said = listen_without_privileges(first - 1)
    assert f"a port below {first} needs root or CAP_NET_BIND_SERVICE, and {first - 1} was asked for" in said
    assert "--port" in said


def test_a_port_that_everybody_may_listen_on_but_somebody_forbids_is_not_called_privileged(tmp_path: Path) -> None:
    first = first_for_everybody()
    (tmp_path / "first").write_text("0\n")
    said = listen_without_privileges(first - 1, f"ports.UNPRIVILEGED = Path({str(tmp_path / 'first')!r})")
    assert f"nobody may listen on port {first - 1} of 127.0.0.1 here: Permission denied" in said
    assert "CAP_NET" not in said


def test_the_holder_of_a_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as used:
        assert (ports.holder(used.getsockname()[1]) or "").startswith(f"pid {os.getpid()} (")
    assert ports.holder(1) is None


def test_a_connection_in_its_last_minute_does_not_make_a_port_used() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server.accept()[0].close()
        client.close()
    assert not ports.listens("127.0.0.1", port)


def test_hosts_that_are_not_ours_or_do_not_exist_are_named() -> None:
    with pytest.raises(ports.PortError, match=r"192\.0\.2\.1 is no address of this machine"):
        ports.listens("192.0.2.1", 20000)
    with pytest.raises(ports.PortError, match=r"the host 'no\.such\.invalid' is unknown"):
        ports.listens("no.such.invalid", 20000)


def test_an_unusable_runtime_directory_is_the_machines_fault(runtime: Path) -> None:
    (runtime / "vep-dagger").write_text("in the way")
    with pytest.raises(MachineError, match="runtime directory") as caught, ports.reserved("127.0.0.1", None):
        pass
    assert "XDG_RUNTIME_DIR" in (caught.value.hint or "")


def test_a_machine_without_a_runtime_directory_has_ports_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with ports.reserved("127.0.0.1", None) as port:
        assert port


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("n1", "http://n1:1"),
    ],
)
def test_a_server_on_every_address_is_reached_on_this_machine(host: str, url: str) -> None:
    assert ports.url(host, 1) == url
