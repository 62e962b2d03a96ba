"""The worker's priority among the computer's processes.

Slicer lowers the priority of its main thread as it starts its own background work, and a process
that is started from there inherits that: on a busy computer it hardly gets to compute.
"""

from __future__ import annotations

import os

NORMAL = 0  # the nice value of a process; higher ones wait for it
SLICERS_SETTING = "SLICER_BACKGROUND_THREAD_PRIORITY=0"
LOW_PRIORITY = (
    "This run had a low priority (nice {nice}), which Slicer gives to what it starts and which this"
    " system lets no program raise again; if runs are slow on a busy computer, start Slicer with"
    " the environment variable {setting}."
)


def take_normal_priority() -> str:
    """Give this process the normal priority, or the best that the system allows.

    Called before there are other threads, which inherit it. Returns a sentence for the user where
    the system forbids it, else "". On Windows the owner chooses the priority (`Process`).
    """
    if not hasattr(os, "setpriority"):
        return ""
    inherited = os.getpriority(os.PRIO_PROCESS, 0)
    for nice in range(NORMAL, inherited):
        try:
            os.setpriority(os.PRIO_PROCESS, 0, nice)
            break
        except OSError:  # only a privileged user may lower it
            continue
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    return LOW_PRIORITY.format(nice=nice, setting=SLICERS_SETTING) if nice > NORMAL else ""
