"""Does the frozen language model help on chest X-rays? Runs the arms of `arms.py`.

    python -m MedLLMSegLib.studies.diagnosis.ablation --data ../shared/data/cxr \\
        --output runs/diagnosis

Writes docs/diagnosis.md. It can be stopped at any moment; the same command continues. --list shows
the runs, --measure takes time and memory of every arm in processes of their own, --page only writes
the page.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.progress import ProgressLog, Report
from MedLLMSegLib.data import split_cases
from MedLLMSegLib.data.image_table import ClassSet, read_classes
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from MedLLMSegLib.studies.study.command import guarded
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.training.classifier.classifier_recipe import ClassifierLoop
from MedLLMSegLib.training.classifier.prepared_images import image_examples

from .arms import cxr_arms
from .classifier_study import COLLECTED, ClassifierStudy
from .page.xray_page import summarise_cxr
from .study_command import add_options, do_diagnosis

NAME = "cxr"
RATES = (3e-4, 1e-3, 3e-3)  # the paper's, and two higher ones, as these trainings are shorter


def cxr_study(
    class_set: ClassSet,
    output: Path,
    results: StudyResults,
    *,
    size: int = 224,
    epochs: int = 15,
    seeds: int = 3,
    device: str = "cpu",
    progress: Report | None = None,
) -> ClassifierStudy:
    """The study of a table of X-rays with the splits that it states.

    Raises `UserError` where a split is missing.
    """
    cases = split_cases(class_set)
    if not all(cases.values()):
        raise UserError(
            f'"{class_set.source}" states no test images; the ablation needs "train", "val" and'
            ' "test" in splits.json.'
        )
    parts = {
        name: image_examples(each, PreparationConfig(size=size), progress)
        for name, each in cases.items()
    }
    loop = ClassifierLoop(epochs=epochs, precision="bf16")
    return ClassifierStudy(
        NAME,
        cxr_arms(class_set.classes, size),
        loop,
        tuple(range(seeds)),
        RATES,
        parts,
        Path(output) / NAME,
        results,
        PreparationConfig(size=size).to_dict(),
        device,
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument(
        "--size", type=int, default=224, help="pixels of the image (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=15, help="default: %(default)s")
    return guarded(parser, f"{__package__}.ablation", arguments, _run)


def _run(options: argparse.Namespace) -> None:
    class_set = read_classes(options.data)
    study = cxr_study(
        class_set,
        options.output,
        StudyResults(options.docs / COLLECTED),
        size=options.size,
        epochs=options.epochs,
        seeds=options.seeds,
        device=options.device,
        progress=ProgressLog(),
    )
    do_diagnosis(
        study, options, lambda study: summarise_cxr(study, split_cases(class_set), options.docs)
    )


if __name__ == "__main__":
    sys.exit(main())
