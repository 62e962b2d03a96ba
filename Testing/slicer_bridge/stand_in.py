"""Stand-ins for the network and for the worker's client, with the methods that the logic uses."""

import time
from pathlib import Path

import numpy as np

from MedLLMSegLib.anatomy.structures import hippocampus_structures
from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.geometry import transform_points
from MedLLMSegLib.core.segmentation import Segmentation
from MedLLMSegLib.segmentation.region import Region, cropped, on_whole
from MedLLMSegLib.segmentation.selection import only
from MedLLMSegLib.worker.array_files import load_volume, save_segmentation
from MedLLMSegLib.worker.protocol import Event

OBLIQUE = np.array(
    [[-0.6, 0.3, 0.4, 40], [0.2, 0.9, -0.5, -30], [-0.1, 0.2, 2.4, 12], [0, 0, 0, 1.0]]
)
BALLS_RAS = {
    1: (20, -10, 30),
    2: (20, -22, 33),
    3: (38, -12, 28),
    4: (38, -24, 31),
}  # mm, in the world
RADIUS_MM = 5.0
GRID = (16, 60, 90)  # k, j, i: with OBLIQUE it holds all four balls


class BallSegmenter:
    """Labels balls fixed in world RAS, whatever the grid, and remembers how it was called."""

    def __init__(self, fails=None, radius_mm=RADIUS_MM, balls=(1, 2, 3, 4)):
        self.fails, self.radius_mm, self.balls = fails, radius_mm, balls

    def __call__(
        self,
        volume,
        model,
        *,
        device="auto",
        side=None,
        probabilities=False,
        uncertainty=False,
        augment=0,
        engine="torch",
        structures=(),
        region=None,
        progress=None,
    ):
        whole = volume
        if region is not None:
            volume = cropped(whole, region)
        self.volume, self.options = volume, dict(model=model, device=device, side=side)
        if progress:
            progress("segment", 0.5)
        if self.fails:
            raise self.fails
        k, j, i = np.indices(volume.array.shape)
        world = transform_points(volume.ijk_to_ras, np.stack([i, j, k], -1))
        labels = np.zeros(volume.array.shape, np.uint8)
        wanted = {"left": (1, 2), "right": (3, 4), None: (1, 2, 3, 4)}[side]
        for label, centre in BALLS_RAS.items():
            if label in wanted and label in self.balls:
                labels[np.linalg.norm(world - centre, axis=-1) <= self.radius_mm] = label
        unsure = volume.with_array((labels > 0).astype(np.float32) * 0.5) if uncertainty else None
        result = Segmentation(
            volume.with_array(labels),
            hippocampus_structures(lateral=True),
            {1: 0.9, 2: float("nan")},
            notes=("A note.",),
            model=model,
            uncertainty=unsure,
        )
        result = only(result, structures) if structures else result
        return result if region is None else on_whole(result, whole, region)


class StandInClient:
    """A worker that works when it is polled: one stage a poll, then the result.

    segment: called with (volume, model, **options). hold: stay in the stage of that name until it
    is set to None. fails: an Event's fields instead of a result. bundle: what a training ends with.
    """

    STAGES = ("start", "read", "load", "localize", "segment", "restore", "done")

    def __init__(self, segment=None, hold=None, fails=None, bundle=None, history=()):
        self.segment, self.hold, self.fails, self.bundle, self.history = (
            segment or BallSegmenter(),
            hold,
            fails,
            bundle,
            history,
        )
        self.requests, self.open, self.events, self.cancelled, self.closed = [], {}, [], [], False

    def submit(self, do, **fields):
        self.requests.append((do, fields))
        number = len(self.requests)
        self.open[number] = [do, fields, 0]
        return number

    def cancel(self, number):
        self.cancelled.append(number)

    def close(self):
        """What it works on is saved before it ends, as a training is."""
        for _do, fields, _at in self.open.values():
            time.sleep(0.05)
            Path(fields["output"]).mkdir(parents=True, exist_ok=True)
            (Path(fields["output"]) / "last.pt").write_bytes(b"as far as it got")
        self.closed = True

    def poll(self):
        return [event for number in list(self.open) for event in self._go_on(number)]

    def _go_on(self, number):
        do, fields, at = self.open[number]
        if number in self.cancelled:
            del self.open[number]
            return [Event(number, "error", kind="cancelled")]
        if at < len(self.STAGES):
            if self.STAGES[at] != self.hold:
                self.open[number][2] += 1
            return [
                Event(
                    number,
                    "progress",
                    stage=self.STAGES[at],
                    fraction=at / len(self.STAGES),
                    seconds_left=3.0,
                    history=self.history[at : at + 1],
                )
            ]
        del self.open[number]
        return [self._end(number, do, fields)]

    def _end(self, number, do, fields):
        """The last event of a request."""
        if self.fails:
            return Event(number, "error", **self.fails)
        if do == "train":
            return Event(number, "result", bundle=str(self.bundle(fields)))
        options = {name: fields[name] for name in ("device", "side", "uncertainty")}
        options["structures"] = fields.get("structures", ())
        if "region" in fields:
            options["region"] = Region(tuple(map(tuple, fields["region"])))
        try:
            result = self.segment(load_volume(fields["volume"]), fields["model"], **options)
        except UserError as error:
            return Event(number, "error", kind="user", message=str(error))
        except Cancelled:
            return Event(number, "error", kind="cancelled")
        folder = save_segmentation(result, Path(fields["output"]))
        return Event(number, "result", folder=str(folder))


def take_along(logic, job, until=lambda job: not job.running, times=2000):
    """Poll as Slicer's timer would, until a job has ended (or ``until``)."""
    for _ in range(times):
        if until(job):
            return job
        logic.poll()
        time.sleep(0.002)
    raise AssertionError(f"the job is still {job.state} in stage {job.stage}")


def in_stage(name):
    return lambda job: not job.running or job.stage.endswith(name)
