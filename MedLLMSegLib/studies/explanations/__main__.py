"""How much maps of evidence are worth, against chance and against mere distance.

    python -m MedLLMSegLib.studies.explanations --data ../shared/data --output runs/explanations
    python -m MedLLMSegLib.studies.explanations --data ../shared/data --output runs/explanations \
--split val --model hippocampus-t1 --people 3

On val every layer and way is measured, as `explanation.layer_choice` was made (on two heads of
hippocampus-t1, by an older version with a fifth step); on test the chosen one, and its maps are
compared with those of shuffled weights. It can be stopped, and goes on where it was: a row is bound
to the model and to the settings.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from MedLLMSegLib.core.errors import Cancelled, UserError
from MedLLMSegLib.core.progress import Progress, ProgressLog
from MedLLMSegLib.core.safe_files import write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.segmentation.explanation.asked import asked_structures
from MedLLMSegLib.segmentation.explanation.grad_cam import WAYS, CamSettings
from MedLLMSegLib.segmentation.explanation.layer_choice import settings_for
from MedLLMSegLib.segmentation.explanation.seen import seen_of
from MedLLMSegLib.segmentation.explanation.target import Place
from MedLLMSegLib.segmentation.loaded_segmenter import SegmenterModel, load_model

from .curves import BLUR_MM, MULTIPLES
from .measured_maps import Measurer, measure, title
from .subjects import MODELS, Subject, subjects
from .tables import tables

# The finest stages are no coarse layers: their maps are edges.
LAYERS = ("stem3", "embedding", "tokens", "decoder1", "decoder2")


def candidates(model: SegmenterModel, split: str) -> tuple[CamSettings, ...]:
    """What is measured: on val all, on test what was chosen."""
    chosen = settings_for(model)
    if split != "val":
        return (chosen,)
    margins = (CamSettings(layer, way) for layer, way in product(LAYERS, WAYS))
    logits = (CamSettings(layer, "place", "logit") for layer in ("tokens", "decoder1"))
    return tuple(dict.fromkeys((*margins, *logits)))


def run(
    data: Path, output: Path, model: SegmenterModel, split: str, people: int, progress: Progress
) -> list[Json]:
    """Measure what is not measured yet; returns the rows of the model and the split."""
    ways = candidates(model, split)
    rows = []
    for number, subject in enumerate(subjects(model.entry.id, data, split, people)):
        for structure in subject.structures:
            name = f"{model.entry.id}-{split}-{subject.person}-{structure}".replace(" ", "_")
            progress(name, number / people)
            path = output / "rows" / f"{name}.json"
            bound = {
                "sha256": model.sha256,
                "ways": [title(way) for way in ways],
                "multiples": list(MULTIPLES),
                "blur_mm": BLUR_MM,
            }
            row = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
            if any(row.get(key) != value for key, value in bound.items()):
                row = {**bound, **_row(subject, structure, model, ways, split, number)}
                path.parent.mkdir(parents=True, exist_ok=True)
                write_text(path, json.dumps(row))
            rows.append(row)
    return rows


def _row(
    subject: Subject,
    structure: str,
    model: SegmenterModel,
    ways: Sequence[CamSettings],
    split: str,
    seed: int,
) -> Json:
    asked = asked_structures(structure, subject.volume, model)
    seen = seen_of(subject.volume, asked, Place(), model, Progress())
    check = None if split == "val" else ways[0]
    measured = measure(Measurer(model, seen), ways, check, seed)
    return {
        "model": model.entry.id,
        "split": split,
        "person": subject.person,
        "structure": structure,
        **measured,
    }


def main(arguments: Iterable[str] | None = None) -> int:
    """Measure, and write and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of shared data")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", choices=MODELS, help="default: all of them in turn")
    parser.add_argument("--split", choices=("val", "test"), default="test")
    parser.add_argument("--people", type=int, default=10, help="at most; default: %(default)s")
    options = parser.parse_args(None if arguments is None else list(arguments))
    rows: list[Json] = []
    names = [options.model] if options.model else MODELS
    try:
        for name, part in zip(names, Progress(ProgressLog()).parts(len(names)), strict=True):
            model = load_model(name, "cpu")
            rows += run(options.data, options.output, model, options.split, options.people, part)
    except (UserError, Cancelled, KeyboardInterrupt) as error:
        print(f"explanations: {error or 'stopped'}", file=sys.stderr)
        return 2
    text = tables(rows)
    write_text(options.output / f"tables-{options.split}.md", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
