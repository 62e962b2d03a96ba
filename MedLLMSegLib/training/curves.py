"""What a training looks like while it runs: the learning curve, TensorBoard, and outlines on val
cases.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from MedLLMSegLib.core.safe_files import atomic_write, remove_leftovers, write_error

from .measure import DICE, Measure

PALETTE = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#cc79a7",
    "#0072b2",
    "#d55e00",
    "#f0e442",
)  # Okabe and Ito, colour-blind safe


class Watcher:
    """Draws after each validation: OUTPUT/curve.png, OUTPUT/examples/step_*.png, and events for
    TensorBoard if it is there.
    """

    def __init__(self, output, title: str = "training"):
        self.output, self.title, self.written = Path(output), title, 0
        remove_leftovers(self.output / "examples")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:  # TensorBoard belongs to the extra [train]; the pictures do without it
            self.writer = None
        else:
            # A training that goes on writes its whole history again; what was written before is
            # hidden.
            self.writer = SummaryWriter(str(self.output / "tensorboard"), purge_step=0)

    def __call__(
        self, step: int, history: list[dict], shown: list[tuple[dict, np.ndarray]]
    ) -> None:
        draw_curve(history, self.output / "curve.png", self.title)
        draw_examples(shown, self.output / "examples" / f"step_{step:06d}.png")
        if self.writer:
            try:
                self._write_events(self.writer, history[self.written :])
            except OSError as error:
                # Such as a full disk, of which TensorBoard's writer names no file.
                raise write_error(self.output / "tensorboard", error) from error
        self.written = len(history)

    def _write_events(self, writer, rows: list[dict]) -> None:
        for row in rows:
            for key in ("loss", "lr", "val_dice"):
                if key in row:
                    writer.add_scalar(key, row[key], row["step"])
        writer.flush()


def draw_curve(history: list[dict], path: Path, title: str, measure: Measure = DICE) -> None:
    """Loss (left axis) and the score on val (right axis) over steps. history: rows of a training's
    history.json.
    """
    losses = [(row["step"], row["loss"]) for row in history if "loss" in row]
    scores = [(row["step"], row[measure.key]) for row in history if measure.key in row]
    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    left = figure.add_subplot()
    left.set(title=title, xlabel="step", ylabel="training loss")
    if losses:
        left.plot(*zip(*losses, strict=True), color="#56b4e9", linewidth=0.8, alpha=0.6)
        left.plot(*zip(*_smoothed(losses), strict=True), color="#0072b2", label="training loss")
    right = left.twinx()
    right.set(ylabel=measure.axis, ylim=(0, 1))
    if scores:
        best = max(scores, key=lambda s: s[1])
        right.plot(
            *zip(*scores, strict=True),
            color="#d55e00",
            marker="o",
            label=f"{measure.words}, best {best[1]:.4f} at step {best[0]}",
        )
    handles = [h for axis in (left, right) for h in axis.get_legend_handles_labels()[0]]
    left.legend(handles=handles, loc="center right", fontsize="small")
    _save(figure, path)


def _smoothed(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    span = max(1, len(points) // 25)
    values = np.array([v for _, v in points])
    means = [values[max(0, n - span + 1) : n + 1].mean() for n in range(len(values))]
    return [(step, mean) for (step, _), mean in zip(points, means, strict=True)]


def draw_examples(shown: list[tuple[dict, np.ndarray]], path: Path) -> None:
    """Val cases, each in the slice across k that shows most of the organ: drawn outlines solid, the
    labels' dashed.

    shown: (prepared case, label map (K, J, I)).
    """
    figure = Figure(figsize=(3.2 * max(1, len(shown)), 3.6), dpi=110, layout="constrained")
    for n, (case, winner) in enumerate(shown):
        truth = np.asarray(case["label"][0])
        k = int(((truth > 0) | (winner > 0)).sum(axis=(1, 2)).argmax())
        panel = figure.add_subplot(1, len(shown), n + 1)
        panel.imshow(
            np.asarray(case["image"][0, k], np.float32),
            cmap="gray",
            origin="lower",
            interpolation="nearest",
        )
        for value in sorted(set(np.unique(truth)) | set(np.unique(winner))):
            if value:
                color = PALETTE[(int(value) - 1) % len(PALETTE)]
                for mask, style in ((truth[k] == value, "dashed"), (winner[k] == value, "solid")):
                    if mask.any() and not mask.all():
                        panel.contour(mask, [0.5], colors=[color], linewidths=1.2, linestyles=style)
        panel.set_title(f"{case['id']}, slice {k}", fontsize="small")
        panel.axis("off")
    figure.suptitle("solid: the network; dashed: the labels", fontsize="small")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as scratch:
        FigureCanvasAgg(figure).print_png(str(scratch))
