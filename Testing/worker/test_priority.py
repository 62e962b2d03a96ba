"""The worker does not keep the low priority of Slicer's main thread, where the system lets it."""

import os
import pwd
import subprocess
import sys

import pytest

from MedLLMSegLib.worker.array_files import load_segmentation
from MedLLMSegLib.worker.priority import SLICERS_SETTING
from Testing.helpers.worker_owner import LINUX, STAND_IN

pytestmark = LINUX
LOWERED = "import os, runpy; os.nice(19 - os.nice(0))\n{}"
SERVE = f"runpy.run_path({STAND_IN!r}, run_name='__main__')"
FORBIDDEN = """
def refuse(*given):
    raise PermissionError(13, "Permission denied")
os.setpriority = refuse
"""
privileged = pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise a priority")


def ask_in_new_process(user: str | None) -> list[str]:
    """The nice value and the note of a process that was started as Slicer starts its worker.

    user: whom it changes to after its imports, as others may not read this Python's folder.
    """
    become = f"os.setuid({pwd.getpwnam(user).pw_uid})" if user else ""
    code = (
        "import os\n"
        "from MedLLMSegLib.worker.priority import take_normal_priority\n"
        "os.nice(19 - os.nice(0))\n"
        f"{become}\n"
        "note = take_normal_priority()\n"
        "print(os.nice(0))\n"
        "print(note)"
    )
    run = [sys.executable, "-c", code]
    return subprocess.run(run, capture_output=True, text=True, check=True).stdout.splitlines()


@privileged
def test_it_has_the_normal_priority_where_the_system_allows_it():
    assert ask_in_new_process(None) == ["0", ""]


def test_an_unprivileged_user_reads_what_helps():
    nice, note = ask_in_new_process("nobody" if os.geteuid() == 0 else None)
    assert int(nice) > 0
    assert f"nice {nice}" in note
    assert SLICERS_SETTING in note


@privileged
def test_the_workers_process_takes_it(make):
    owner = make(arguments=("-c", LOWERED.format(SERVE)))
    assert os.getpriority(os.PRIO_PROCESS, owner.pid()) == 0
    result = load_segmentation(owner.until(owner.ask())[-1].folder)
    assert not any(SLICERS_SETTING in note for note in result.notes)


def test_the_first_result_says_that_it_was_forbidden(make):
    owner = make(arguments=("-c", LOWERED.format(FORBIDDEN + SERVE)))
    first, second = (load_segmentation(owner.until(owner.ask())[-1].folder).notes for _ in range(2))
    assert SLICERS_SETTING in first[-1]
    assert not any(SLICERS_SETTING in note for note in second)
    assert os.getpriority(os.PRIO_PROCESS, owner.pid()) == 19
