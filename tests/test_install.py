"""Set-up, with a Python that only pretends: no network, no gigabytes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOOLS = [
    *["awk", "bash", "cat", "cp", "df", "dirname", "env", "find", "flock", "grep", "ls"],
    *["mkdir", "mv", "nproc", "rm", "sed", "sha256sum", "sleep", "touch"],
]

# Answers what install.sh asks of a Python; every installation leaves a line in $CALLS.
PYTHON = r"""#!/usr/bin/env bash
case " $* " in
  *" -m venv "*) mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
  *" pip --version "*) exit 0 ;;
  *" pip "*)
    echo "$*" >>"$CALLS"
    echo "WARNING: some index is odd" >&2
    if [[ -n ${PIP_SAYS:-} ]]; then echo "$PIP_SAYS" >&2; exit 1; fi
    case " $* " in *" --dry-run "*) ;; *) touch "$(dirname "$0")/installed" ;; esac
    sleep "${PIP_SLEEPS:-0}" ;;
  *" compileall "*)
    trap 'exit 1' INT
    touch "$(dirname "$0")/compiled"
    sleep "${COMPILE_SLEEPS:-0}" ;;
esac # anything else asks whether it runs
"""
BROKEN_SHIM = "#!/usr/bin/env bash\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n"


@dataclass
class Machine:
    """A clone of the repository's tools on a machine with nothing but what a test puts there."""

    home: Path
    env: dict[str, str] = field(default_factory=dict)

    @property
    def venv(self) -> Path:
        return Path(self.env.get("CYCLE_VENV", self.home / "clone/.venv"))

    def executable(self, name: str, content: str) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755)
        return path

    def start(self, *command: str, **env: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command or ("bash", str(self.home / "clone/tools/install.sh")),
            env=self.env | env,
            cwd=self.home,
            stdout=pipe,
            stderr=pipe,
            text=True,
            start_new_session=True,
        )

    def install(self, **env: str) -> tuple[int, str, str]:
        process = self.start(**env)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    def installs(self) -> int:
        calls = self.home / "calls"
        return len(re.findall("requirements.txt", calls.read_text())) if calls.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for name in TOOLS:
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(shutil.which(name) or pytest.skip(f"{name} is missing"))
    shutil.copytree(ROOT / "tools", tmp_path / "clone/tools")
    env = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "CALLS": str(tmp_path / "calls")}
    return Machine(tmp_path, env)


@pytest.fixture
def with_python(machine: Machine) -> Machine:
    machine.executable("bin/python3.12", PYTHON)
    return machine


def wait_for(path: Path) -> None:
    for _ in range(500):
        if path.exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


def test_prints_the_interpreter_and_keeps_pip_quiet(with_python: Machine) -> None:
    code, out, err = with_python.install()
    assert (code, out) == (0, f"{with_python.venv}/bin/python\n")
    assert "WARNING" not in err
    assert len(err.splitlines()) == 2
    assert (with_python.venv / "bin/compiled").exists()


def test_second_call_does_nothing_at_once(with_python: Machine) -> None:
    with_python.install()
    start = time.monotonic()
    code, _, err = with_python.install()
    assert (code, err, with_python.installs()) == (0, "", 1)
    assert time.monotonic() - start < 1  # 0.05 s on an idle machine


def test_up_to_date_environment_needs_no_lock(with_python: Machine) -> None:
    """It may belong to somebody else, on a disk that only they may write to."""
    with_python.install()
    with subprocess.Popen(["flock", with_python.venv / ".cycle-lock", "sleep", "5"], start_new_session=True) as holder:
        time.sleep(0.1)
        assert with_python.install()[2] == ""
        os.killpg(holder.pid, signal.SIGKILL)


@pytest.mark.parametrize("name", ["requirements.txt", "constraints.txt"])
def test_changed_pins_refresh_in_place(with_python: Machine, name: str) -> None:
    with_python.install()
    kept = with_python.venv / "kept"
    kept.touch()
    (with_python.home / "clone/tools" / name).write_text("numpy\n")
    assert with_python.install()[0] == 0
    assert kept.exists()
    assert with_python.installs() == 3  # one of them a dry run
    assert with_python.install()[2] == ""


def test_refresh_without_network_leaves_the_old_environment(with_python: Machine) -> None:
    with_python.install()
    (with_python.home / "clone/tools/constraints.txt").write_text("numpy==1.0\n")
    assert with_python.install(PIP_SAYS="ERROR: No matching distribution found")[0] == 2
    assert (with_python.venv / "bin/python").exists()
    assert with_python.install()[0] == 0


def test_kill_in_the_middle_heals(with_python: Machine) -> None:
    process = with_python.start(PIP_SLEEPS="60")
    wait_for(with_python.venv / "bin/installed")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (with_python.venv / "half-written").touch()
    code, out, _ = with_python.install()
    assert (code, out) == (0, f"{with_python.venv}/bin/python\n")
    assert not (with_python.venv / "half-written").exists()
    assert with_python.install()[2] == ""


def test_interpreter_that_went_away_heals(with_python: Machine) -> None:
    with_python.install()
    (with_python.venv / "bin/python").unlink()
    assert with_python.install()[0] == 0
    assert with_python.installs() == 2


@pytest.mark.parametrize("content", [".bashrc", "pyvenv.cfg", ".cycle-lock-of-mine"])
def test_refuses_a_folder_that_is_not_its_own(with_python: Machine, content: str) -> None:
    with_python.env["CYCLE_VENV"] = str(with_python.home / "mine")
    (with_python.venv / "sub").mkdir(parents=True)
    (with_python.venv / content).write_text("precious")
    code, out, err = with_python.install()
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: .*mine: is not empty and was not made by tools/install.sh; .*\n", err)
    assert sorted(p.name for p in with_python.venv.iterdir()) == sorted(["sub", content])


def test_takes_an_empty_folder_and_a_relative_path(with_python: Machine) -> None:
    (with_python.home / "empty").mkdir()
    code, out, _ = with_python.install(CYCLE_VENV="empty")
    assert (code, out) == (0, f"{with_python.home}/empty/bin/python\n")


def test_shim_that_fails_does_not_count(machine: Machine) -> None:
    machine.executable("bin/python3.12", BROKEN_SHIM)
    machine.executable(".pyenv/versions/3.13.7/bin/python", PYTHON)
    assert machine.install()[0] == 0


def test_python_variable_comes_first(machine: Machine) -> None:
    machine.executable("bin/python3.12", BROKEN_SHIM)
    chosen = machine.executable("elsewhere/python", PYTHON)
    assert machine.install(PYTHON=str(chosen))[0] == 0


def test_uv_comes_last(machine: Machine) -> None:
    found = machine.executable("elsewhere/python", PYTHON)
    machine.executable("bin/uv", f'#!/usr/bin/env bash\n[[ "$*" == *3.13* ]] && echo {found}\n')
    assert machine.install()[0] == 0


def test_no_python_is_one_line(machine: Machine) -> None:
    machine.executable("bin/python3.12", BROKEN_SHIM)
    code, out, err = machine.install()
    assert (code, out) == (2, "")
    assert re.fullmatch(r"error: no Python 3.12 or 3.13 .* install one .*\n", err)


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("OSError: [Errno 28] No space left on device", "the disk is full; free"),
        ("NewConnectionError: Failed to establish a new connection", "could not be downloaded; check the network"),
        ("ERROR: Cannot install a because these package versions have conflicting dependencies.", "check the network and pip's settings"),
        ("something else", "could not be installed; read"),
    ],
)
def test_failure_is_one_line_and_leaves_nothing_half_built(with_python: Machine, says: str, expected: str) -> None:
    code, out, err = with_python.install(PIP_SAYS=says)
    assert (code, out) == (2, "")
    errors = [line for line in err.splitlines() if not line.startswith("Setting up")]
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert expected in errors[0]
    assert not (with_python.venv / "bin").exists()
    assert says in (with_python.venv / ".cycle-install.log").read_text()
    assert with_python.install()[0] == 0


def test_interrupted_while_it_compiles_it_is_not_whole(with_python: Machine) -> None:
    installer = str(with_python.home / "clone/tools/install.sh")
    # A shell in the background would have it ignored.
    process = with_python.start("env", "--default-signal=INT", "bash", installer, COMPILE_SLEEPS="5")
    wait_for(with_python.venv / "bin/compiled")
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "" and process.returncode == 130
    assert with_python.install()[0] == 0 and with_python.installs() == 2


def test_two_at_once_install_once(with_python: Machine) -> None:
    first = with_python.start(PIP_SLEEPS="1")
    wait_for(with_python.venv / "bin/installed")
    second = with_python.start()
    out, err = second.communicate(timeout=30)
    first.communicate()
    assert (first.returncode, second.returncode, with_python.installs()) == (0, 0, 1)
    assert out == f"{with_python.venv}/bin/python\n"
    assert "Waiting for another process" in err


def test_help_needs_no_environment_and_lists_what_python_knows(machine: Machine) -> None:
    shutil.copy(ROOT / "run.sh", machine.home / "clone")
    process = machine.start("bash", "clone/run.sh", "--corpus", "mini", "--help")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("usage: ./run.sh ")
    command = [sys.executable, "-m", "cycle", "run", "--help"]
    known = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^ +(--[a-z-]+)", out, re.MULTILINE)) == set(re.findall(r"^ +(?:-h, )?(--[a-z-]+)", known, re.MULTILINE))


def test_run_hands_over_words_and_folder_untouched(machine: Machine) -> None:
    show = '  *" cycle "*) printf "<%s>" "$@" "$PWD" "$PYTHONPATH"; exit 7 ;;\n'
    machine.executable("bin/python3.12", PYTHON.replace('  *" -m venv', show + '  *" -m venv', 1))
    shutil.copy(ROOT / "run.sh", machine.home / "clone")
    process = machine.start("bash", "clone/run.sh", "--data", "a b", "--", "seed=2", "--help")
    out, _ = process.communicate(timeout=30)
    words = ["-m", "cycle", "run", "--data", "a b", "--", "seed=2", "--help", str(machine.home), str(machine.home / "clone")]
    assert (process.returncode, out) == (7, "".join(f"<{word}>" for word in words))


def test_every_package_is_pinned_once_and_nothing_but_pinned() -> None:
    lines = [line for line in (ROOT / "tools/constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.+]*", line)] == []
    names = [re.sub(r"[-_.]+", "-", line.split("==")[0]).lower() for line in lines]
    assert len(names) == len(set(names))
    direct = re.findall(r"^[a-z].*$", (ROOT / "tools/requirements.txt").read_text(), re.MULTILINE)
    assert set(direct) <= set(names)
