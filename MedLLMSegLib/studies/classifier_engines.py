"""A classifier of images in other engines: probabilities, size and time beside torch's.

    python -m MedLLMSegLib.studies.classifier_engines --data ../shared/data/cxr --output runs/cxr

Each test image goes through the network in torch and through its graphs. Time is the processor time
of the network alone, the median over images and repeats.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.processor import processor_name
from MedLLMSegLib.core.progress import ProgressLog
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.data.image_table import read_classes
from MedLLMSegLib.diagnosis.loaded_classifier import ClassifierModel, load_classifier
from MedLLMSegLib.edge.exported_folder import read_exported
from MedLLMSegLib.edge.write_export import export_model, folder_mb
from MedLLMSegLib.engines.engine_names import GRAPH_ENGINES, TORCH
from MedLLMSegLib.evaluation.evaluate_classifier import chosen_cases, examples_for
from MedLLMSegLib.metrics.calibration import calibrated_probabilities
from MedLLMSegLib.metrics.classification import decide
from MedLLMSegLib.reporting.markdown import table

TABLE = "classifier_engines.md"
Floats = NDArray[np.float32]
Run = Callable[[Floats], Floats]  # image (1, C, H, W) -> logits (1, classes)


@dataclass(frozen=True, eq=False)
class Measured:
    """A network in one engine. logits: (N, classes). seconds: processor time an image. mb: of its
    weights, or of its graphs.
    """

    engine: str
    mb: float
    logits: Floats
    seconds: float


def measure(engine: str, mb: float, run: Run, images: Floats, repeats: int) -> Measured:
    """images: (N, C, H, W), one at a time."""
    logits, times = [], []
    for image in images:
        for _ in range(repeats):
            began = time.process_time()
            found = run(image[None])
            times.append(time.process_time() - began)
        logits.append(found[0])
    return Measured(engine, mb, np.stack(logits), statistics.median(times))


def torch_run(model: ClassifierModel) -> Run:
    """The network in torch, in fp32."""

    def run(image: Floats) -> Floats:
        with torch.inference_mode():
            logits: Floats = model.network({"image": torch.from_numpy(image)}).float().numpy()
        return logits

    return run


def in_engine(model: ClassifierModel, engine: str, folder: Path) -> tuple[float, Run]:
    """(MB of the graphs, the network), made in the folder unless they are this model's already."""
    exported = read_exported(folder) if folder.is_dir() else None
    if exported is None or exported.measured_model != model.sha256:
        shutil.rmtree(folder, ignore_errors=True)
        exported = read_exported(export_model(model.entry.id, engine, folder))
    return sum(folder_mb(folder).values()), exported.graphs["network"].open(folder)


def lines(model: ClassifierModel, measured: Sequence[Measured]) -> str:
    """The table; torch comes first."""
    base = measured[0]
    expected = calibrated_probabilities(base.logits, model.temperature)
    rows = []
    for each in measured:
        found = calibrated_probabilities(each.logits, model.temperature)
        apart = np.abs(found - expected).max(1)
        same = decide(found, model.threshold) == decide(expected, model.threshold)
        rows.append(
            [
                each.engine,
                f"{each.mb:.1f}",
                f"{apart.mean():.5f} ({apart.max():.5f})",
                f"{same.sum()} of {len(same)}",
                f"{1000 * each.seconds:.0f}",
                f"{base.seconds / max(each.seconds, 1e-9):.2f}",
            ]
        )
    head = ["engine", "MB", "probability apart, mean (most)", "same answer", "ms", "times as fast"]
    return (
        f"Processor: {processor_name()}. `{model.entry.id}`, {len(base.logits)} test images.\n\n"
        f"{table(head, rows)}\n"
    )


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure, and write and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="labelled images, with a split")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="cxr-pneumonia", help="default: %(default)s")
    parser.add_argument("--engine", nargs="+", choices=GRAPH_ENGINES, default=GRAPH_ENGINES)
    parser.add_argument("--repeats", type=int, default=1, metavar="N", help="of each image")
    options = parser.parse_args(None if arguments is None else list(arguments))
    try:
        model = load_classifier(options.model, "cpu")
        classes = read_classes(options.data, model.classes, tuple(model.input.channels))
        examples = examples_for(model, chosen_cases(classes), ProgressLog())
        images = examples.fields["image"].float().numpy()
        mb = sum(p.numel() for p in model.network.parameters()) * 4 / 1e6
        found = [measure(TORCH, mb, torch_run(model), images, options.repeats)]
        for engine in options.engine:
            size, run = in_engine(model, engine, options.output / engine)
            found.append(measure(engine, size, run, images, options.repeats))
    except UserError as error:
        print(f"classifier_engines: {error}", file=sys.stderr)
        return 2
    text = lines(model, found)
    write_text(options.output / TABLE, text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
