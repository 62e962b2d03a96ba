"""What libraries print goes to the log, without patients' data, and not to the terminal."""

import subprocess
import sys

import pytest

from Testing.helpers.places import ROOT

PROGRAM = """
import logging, os, sys, warnings
from types import SimpleNamespace
from MedLLMSegLib.cli import main as cli
from MedLLMSegLib.core.errors import UserError

def run(args, command):
    os.write(1, b"a library on 1\\n")
    os.write(2, b"a library on 2: bad value 'Roe^Jane'\\n")
    warnings.warn("PatientBirthDate 19700102 is odd")
    logging.getLogger("pydicom").warning("Invalid value %r", "Roe^Jane")
    print("our result")
    print("our progress", file=sys.stderr)
    if len(sys.argv) > 1 and sys.argv[1] == "value":
        raise ValueError("could not convert 'Roe^Jane'")
    raise UserError('The file "x.nii" is upside down; turn it.')

cli.build_parser = lambda: SimpleNamespace(parse_args=lambda argv: SimpleNamespace(run=run))
code = cli.main()
os.write(2, b"after\\n")
print("and after")
sys.exit(code)
"""


def run(tmp_path, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={"MEDLLMSEG_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    return done, (tmp_path / "medllmseg.log").read_text()


def test_our_sentence_stands_alone(tmp_path):
    done, log = run(tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "our progress",
        'medllmseg: The file "x.nii" is upside down; turn it.',
        "after",
    ]
    assert done.stdout.splitlines() == ["our result", "and after"]
    for words in (
        "a library on 1",
        "a library on 2",
        "Invalid value",
        "is upside down",
        "UserWarn",
    ):
        assert words in log


@pytest.mark.parametrize("arguments", ((), ("value",)))
def test_the_log_holds_no_patients_data(tmp_path, arguments):
    done, log = run(tmp_path, *arguments)
    assert done.returncode == (3 if arguments else 2)
    assert "Roe" not in log
    assert "Jane" not in log
    assert "19700102" not in log
    assert "Traceback" in log


def test_a_pipe_that_is_closed_early_is_no_error(tmp_path):
    program = (
        PROGRAM.replace('print("our result")', 'print("x" * 200000)')
        .replace(
            "raise UserError('The file \"x.nii\" is upside down; turn it.')", "sys.stdout.flush()"
        )
        .replace('print("and after")', "")
    )
    line = f'{sys.executable} -c "$PROGRAM" | head -c 10; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={"MEDLLMSEG_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin", "PROGRAM": program},
    )
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.stdout.splitlines()[-1].endswith("0")
