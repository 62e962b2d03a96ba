"""A row of `medllmseg bench`: the second press in a worker that is warm."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.studies.speed import product
from MedLLMSegLib.studies.speed.row import OURS, NotMeasured, Row, Run, Setting
from MedLLMSegLib.studies.speed.rows_chain import HIPPOCAMPUS, template_head

from .array_files import load_segmentation, save_volume
from .client import WorkerClient
from .protocol import Event

LONGEST_S = 600.0  # a press; only a worker that hangs takes longer
WAIT_S = 0.005  # between two looks for its answer


def _press(setting: Setting) -> Run:
    """A worker that has segmented the scan once, to be asked again."""
    volume = template_head()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client = WorkerClient(sys.executable, log_path=folder / "worker.log")
        stack.callback(client.close)
        pid = int(_answer(client, client.submit("ping")).data["pid"])
        stack_of_run = stack.pop_all()

    def press() -> None:
        _segment(client, volume, folder, setting.device)

    try:
        press()
    except BaseException:
        stack_of_run.close()
        raise
    return Run(press, other_processor=lambda: _processor_s(pid), close=stack_of_run.close)


def _segment(client: WorkerClient, volume: Volume, folder: Path, device: str) -> None:
    """As the panel does it: the scan is handed over, and the result read."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        scan = save_volume(volume, Path(place) / "volume")
        number = client.submit(
            "segment",
            volume=scan,
            output=Path(place) / "result",
            model=HIPPOCAMPUS,
            device=device,
        )
        load_segmentation(str(_answer(client, number).folder))


def _answer(client: WorkerClient, number: int) -> Event:
    """The last event of a request. Raises `UserError` if it is no result."""
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        for event in client.poll():
            if event.id == number and event.final:
                if event.event != "result":
                    raise UserError(f"The worker failed ({event.message}); see its log.")
                return event
        time.sleep(WAIT_S)
    raise UserError(f"The worker gave no answer in {LONGEST_S:.0f} s; try again.")


def _processor_s(pid: int) -> float:
    """What a process has computed so far, in seconds of processor time, as Linux counts it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError as error:
        raise NotMeasured("a worker's processor time is measured on Linux alone") from error
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _networks(setting: Setting) -> Run:
    model = product.shipped_model(HIPPOCAMPUS, setting.device)
    return Run(product.networks_alone(model, template_head()))


ROWS = (
    Row(
        "second-press",
        "both hippocampi of the MNI template, second press in a warm worker",
        {OURS: _press, "networks alone": _networks},
        aim="0.15 s more than the networks",
        memory=False,
        cuda=True,
    ),
)
