"""PyTorch by the PyTorch extension's installer, beside the window: what is run, what it says
meanwhile, how it is stopped.
"""

import os
import sys
import time
import types

import pytest

from MedLLMSegLib.slicer_bridge.install import packages as install
from MedLLMSegLib.slicer_bridge.install import pytorch as torch_install
from MedLLMSegLib.slicer_bridge.install.pytorch import Installation, pip_environment, torch_commands

PIP = """
import sys, time
wheel = "https://files.example.org/whl/torch-2.13.0-cp312-linux.whl"
for line in ("Collecting torch>=2.8", f"  Downloading {{wheel}} (900.1 MB)",
             "Progress 0 of 4000", "Progress 3000 of 4000"):
    print(line, flush=True)
{then}
"""


def script(then):
    return [sys.executable, "-c", PIP.format(then=then)]


def until(installation, condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        installation.poll()
        assert time.monotonic() < end
    return installation


@pytest.fixture
def extension(monkeypatch):
    """The PyTorch extension, as far as it is used."""

    class PyTorchUtilsLogic:
        @staticmethod
        def _getPipInstallArguments(backend=None, torch=None, torchvision=None):
            return ["install", f"torch{torch}", "torchvision"]

    monkeypatch.setitem(
        sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic)
    )


def test_the_extension_says_what_to_run_and_its_installer_is_put_there_first(
    extension, monkeypatch
):
    install_torch = ["-m", "light_the_torch", "install", "torch>=2.8", "torchvision"]
    monkeypatch.setattr(torch_install, "find_spec", lambda name: None)
    assert torch_commands(">=2.8") == [
        ["-m", "pip", "install", "light-the-torch>=0.5"],
        install_torch,
    ]
    monkeypatch.setattr(torch_install, "find_spec", lambda name: "there")
    assert torch_commands(">=2.8") == [install_torch]


ANOTHER = types.SimpleNamespace(
    PyTorchUtilsLogic=types.SimpleNamespace(installTorch=lambda **options: "torch")
)


@pytest.mark.parametrize(
    "utils", [None, types.SimpleNamespace(), ANOTHER], ids=["missing", "empty", "another version"]
)
def test_where_the_extension_does_not_say_its_own_installation_follows(monkeypatch, utils):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", utils)
    assert torch_commands(">=2.8") is None


@pytest.mark.parametrize(
    "have, testing, runs",
    [
        ({}, False, True),
        ({"torch": "2.13.0"}, False, False),
        ({"torch": "1.13.1"}, False, False),
        ({}, True, False),
    ],
    ids=["missing", "there", "too old", "Slicer tests itself"],
)
def test_nothing_runs_unless_torch_is_missing(extension, monkeypatch, have, testing, runs):
    def version(name):
        if name == "torch" and name not in have:
            raise install.PackageNotFoundError(name)
        return have.get(name, "99")

    began = []
    monkeypatch.setattr(install, "version", version)
    monkeypatch.setattr(install, "_testing", lambda: testing)
    monkeypatch.setattr(torch_install, "find_spec", lambda name: "there")
    monkeypatch.setattr(install, "Installation", lambda *given: began.append(given) or "runs")
    assert (install.begin_torch() == "runs") is runs
    for (command,), environment, _folder in began:
        assert command[1:] == [
            "-m",
            "light_the_torch",
            "install",
            f"torch{install.TORCH}",
            "torchvision",
        ]
        held = environment["PIP_CONSTRAINT"]
        assert held.startswith("file://")
        assert " " not in held


def test_what_an_earlier_pytorch_left_may_be_exchanged_and_nothing_else(tmp_path, monkeypatch):
    there = {
        "numpy": "2.0.2",
        "typing_extensions": "4.12.1",
        "sympy": "1.12",
        "Jinja2": "3.1",
        "nvidia-cublas-cu12": "12.1",
        "monai": "1.5",
    }
    monkeypatch.setattr(
        install,
        "distributions",
        lambda: [
            types.SimpleNamespace(metadata={"Name": name}, version=number)
            for name, number in there.items()
        ],
    )
    held = (
        install._write_constraints(tmp_path, install.TORCH_COMPANIONS)
        .read_text(encoding="utf-8")
        .split()
    )
    assert held == ["monai==1.5", "numpy==2.0.2", "typing_extensions==4.12.1"]


def test_pip_is_told_to_keep_all_that_is_there_and_to_say_how_far_it_is(tmp_path, monkeypatch):
    held = tmp_path / "a folder" / "constraints.txt"
    assert pip_environment(held)["PIP_CONSTRAINT"] == held.as_uri()
    assert "%20" in held.as_uri()
    for number, says in (("25.0.1", "raw"), ("24.1", "raw"), ("23.2.1", None)):
        monkeypatch.setattr(torch_install, "version", lambda name, number=number: number)
        assert pip_environment(held).get("PIP_PROGRESS_BAR") == says


def test_what_is_downloaded_and_how_far_is_told(tmp_path):
    gate = tmp_path / "gate"
    made = Installation(
        [
            script(f"""
import os
while not os.path.exists({str(gate)!r}): time.sleep(0.01)
print("Installing collected packages: torch", flush=True)
while os.path.exists({str(gate)!r}): time.sleep(0.01)
print("Successfully installed torch-2.13.0")
""")
        ],
        dict(os.environ),
    )
    until(made, lambda: made.fraction == 0.75)
    assert made.text == "torch-2.13.0-cp312-linux.whl (900.1 MB)"
    assert not made.placing
    assert not made.worked
    gate.touch()
    until(made, lambda: made.placing)
    assert made.fraction is None
    assert not made.poll()
    gate.unlink()
    until(made, made.poll)
    assert made.worked
    assert made.log.endswith("Successfully installed torch-2.13.0")


def test_one_program_after_the_other_and_only_the_last_is_not_disturbed():
    lines = [f"Installing collected packages: {name}" for name in ("light-the-torch", "torch")]
    first, second = (
        [sys.executable, "-c", f"print({line!r}, flush=True); import time; time.sleep(0.3)"]
        for line in lines
    )
    made, seen = Installation([first, second], dict(os.environ)), []
    while not made.poll():
        seen.append((len(made._last), made.placing))
    assert made.worked
    assert made.log.splitlines() == lines
    assert (1, False) in seen
    assert (2, True) in seen
    assert (1, True) not in seen


def test_what_the_first_program_said_is_not_taken_for_the_last_ones():
    """Slicer's window may be busy while one follows the other, and hears both at once."""
    first = [sys.executable, "-c", "print('Installing collected packages: light-the-torch')"]
    second = [
        sys.executable,
        "-c",
        "import time; print('Collecting torch', flush=True); time.sleep(60)",
    ]
    made = Installation([first, second], dict(os.environ))
    end = time.monotonic() + 20
    while made._lines.qsize() < 2 and time.monotonic() < end:
        time.sleep(0.02)
    assert not made.poll()
    assert made.text == "Collecting torch"
    assert not made.placing
    made.close()


def test_a_second_program_that_cannot_start_is_a_failure(tmp_path):
    made = Installation([[sys.executable, "-c", ""], [str(tmp_path / "gone")]], dict(os.environ))
    until(made, made.poll)
    assert not made.worked
    assert "gone" in made.log


def test_a_failure_is_kept_for_the_log():
    made = Installation([script("sys.exit('ERROR: no network')"), script("")], dict(os.environ))
    until(made, made.poll)
    assert not made.worked
    assert not made.stopped
    assert "ERROR: no network" in made.log


@pytest.mark.skipif(os.name == "nt", reason="processes are seen otherwise there")
@pytest.mark.parametrize("how", ["stop", "close"])
def test_stopping_ends_the_program_that_a_launcher_started(tmp_path, how):
    """As PythonSlicer does; a child that is deaf to Ctrl-C, too."""
    inner = (
        f"import signal, time, os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()));"
        " signal.signal(signal.SIGINT, signal.SIG_IGN); print('Collecting torch', flush=True);"
        " time.sleep(60)"
    )
    launcher = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    made = Installation([[sys.executable, "-c", launcher], script("")], dict(os.environ))
    until(made, lambda: made.text)
    began = time.monotonic()
    getattr(made, how)()
    assert how == "close" or time.monotonic() - began < 0.5  # the window does not wait
    until(made, made.poll)
    assert time.monotonic() - began < 3
    pid = int((tmp_path / "pid").read_text())
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(pid, 0)
            time.sleep(0.02)
    assert made.stopped
    assert not made.worked
    made.stop()  # once more does no harm
