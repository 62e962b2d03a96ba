"""Scan with record: late fusion of an image with fields.

The first command runs a synthetic task on which neither suffices alone, the second chest X-rays
with age and sex:

    python -m MedLLMSegLib.studies.diagnosis.record_fusion_study --output runs/diagnosis
    python -m MedLLMSegLib.studies.diagnosis.record_fusion_study --data ../shared/data/cxr \\
        --output runs/diagnosis

Each trains every arm, tests it, also with parts missing, and writes docs/diagnosis.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.data import split_cases
from MedLLMSegLib.data.image_table import ClassSet, read_classes
from MedLLMSegLib.diagnosis.classifier_description import ClassifierDescription
from MedLLMSegLib.metrics.calibration import calibrated_probabilities
from MedLLMSegLib.metrics.classification import area_under_roc
from MedLLMSegLib.registry.classifier_config import (
    EncoderConfig,
    PreparationConfig,
    RecordConfig,
)
from MedLLMSegLib.studies.study.command import guarded
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.training.classifier.classifier_recipe import ClassifierLoop
from MedLLMSegLib.training.classifier.examples import Examples, logits_of
from MedLLMSegLib.training.classifier.prepared_images import (
    image_examples,
    plan_record,
    record_fields,
)

from .classifier_study import COLLECTED, ClassifierStudy
from .export_study import export_study
from .fusion_arms import MAIN, fusion_arms, with_record, without_image, without_record
from .page.study_summary import summarise
from .study_command import add_options, do_diagnosis

SYNTHETIC, CXR = "records-synthetic", "records-cxr"
SIZE = 32  # pixels of the synthetic images
COLUMNS = ("age", "sex")
RATES = (1e-3, 3e-3, 1e-2)


def synthetic_examples(count: int, seed: int) -> Examples:
    """The class is told by image and record together, and by neither alone (exclusive or).

    The image is noise with a square that is bright or dark; the record has a number (negative or
    positive) and a category that says nothing. Class 1: a bright square and a positive number, or a
    dark one and a negative number.
    """
    rng = np.random.default_rng(seed)
    bright, positive = rng.integers(0, 2, count), rng.integers(0, 2, count)
    image = rng.normal(size=(count, 1, SIZE, SIZE))
    image[:, :, 10:22, 10:22] += 1.5 * (2 * bright - 1)[:, None, None, None]
    number = (2 * positive - 1) * rng.uniform(0.3, 1.5, count)
    names = tuple(f"{seed}-{n}" for n in range(count))
    return Examples(
        {
            "image": torch.from_numpy(image).half(),
            "numbers": torch.tensor(number, dtype=torch.float32)[:, None],
            "categories": torch.from_numpy(rng.integers(0, 2, (count, 1))),
        },
        torch.from_numpy((bright == positive).astype(np.int64)),
        names,
        names,
    )


def synthetic_study(
    output: Path, results: StudyResults, seeds: int = 3, epochs: int = 20, cases: int = 400
) -> ClassifierStudy:
    counts = (("train", cases), ("val", cases // 2), ("test", cases))
    splits = {split: synthetic_examples(count, n) for n, (split, count) in enumerate(counts)}
    encoder = EncoderConfig("cnn", image_size=SIZE, width=32)
    record = RecordConfig(("number",), {"category": ("a", "b")})
    arms = fusion_arms(("different", "alike"), encoder, record, hidden=32)
    return ClassifierStudy(
        SYNTHETIC,
        arms,
        ClassifierLoop(epochs=epochs, augmentation=None),
        tuple(range(seeds)),
        RATES,
        splits,
        Path(output) / SYNTHETIC,
        results,
        {"task": "exclusive or"},
    )


def cxr_record_study(
    class_set: ClassSet,
    output: Path,
    results: StudyResults,
    seeds: int = 3,
    epochs: int = 20,
    size: int = 224,
    device: str = "cpu",
) -> ClassifierStudy:
    cases_of = split_cases(class_set)
    preparation, record = PreparationConfig(size=size), plan_record(cases_of["train"], COLUMNS)
    splits = {
        split: with_record(image_examples(cases, preparation), record_fields(cases, record))
        for split, cases in cases_of.items()
    }
    arms = fusion_arms(
        class_set.classes, EncoderConfig("efficientnet-lite0", image_size=size, frozen=True), record
    )
    return ClassifierStudy(
        CXR,
        arms,
        ClassifierLoop(epochs=epochs),
        tuple(range(seeds)),
        RATES,
        splits,
        Path(output) / CXR,
        results,
        {"preparation": preparation.to_dict(), "record": record.to_dict()},
        device,
    )


def auc_with_missing(study: ClassifierStudy, arm: str = MAIN) -> dict[str, list[float]]:
    """What is missing in every test case -> the AUC of each finished seed with weights."""
    missing: dict[str, Callable[[Examples], Examples]] = {
        "nothing": lambda examples: examples,
        "the image": without_image,
        "the record": without_record,
        "both": lambda examples: without_image(without_record(examples)),
    }
    found: dict[str, list[float]] = {what: [] for what in missing}
    runs = [run for run in study.study.runs if run.arm == arm and run.seed in study.finished(arm)]
    for run in [run for run in runs if study.weights(run).exists()]:
        network = study.trained(run)
        for what, change in missing.items():
            seen = change(study.seen(arm)["test"])
            found[what].append(
                area_under_roc(
                    seen.target.numpy(),
                    calibrated_probabilities(logits_of(network, seen, device=study.device), 1.0),
                )
            )
    return {what: values for what, values in found.items() if values}


def summarise_records(study: ClassifierStudy, text: Sequence[str]) -> None:
    """The summary, the introduction and the AUC with parts missing, from what is finished."""
    study.results.put("text", list(text))
    if found := auc_with_missing(study):
        rows = "\n".join(
            f"| {what} | {np.mean(v):.3f} | {', '.join(f'{each:.3f}' for each in v)} |"
            for what, v in found.items()
        )
        study.results.put(
            "pictures",
            [
                "`fusion` tested with parts missing in every case (trained with modality dropout):",
                "| missing | AUC | each seed's |\n|---|---|---|\n" + rows,
            ],
        )
    summarise(study, MAIN, ("image", "record"))


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser, data_needed=False)
    parser.add_argument("--epochs", type=int, default=20, help="default: %(default)s")
    return guarded(parser, f"{__package__}.record_fusion_study", arguments, _run)


def _run(options: argparse.Namespace) -> None:
    results = StudyResults(options.docs / COLLECTED)
    if options.data is None:
        study = synthetic_study(options.output, results, options.seeds, options.epochs)
        count = {split: len(examples) for split, examples in study.splits.items()}
        return do_diagnosis(
            study,
            options,
            lambda study: summarise_records(
                study,
                [
                    f"Made-up images and records ({count['train']} to train on, {count['val']} val,"
                    f" {count['test']} test): the class is the exclusive or of the square's"
                    " brightness and the record's sign, so either alone is at chance (AUC 0.5) by"
                    " construction."
                ],
            ),
        )
    study = cxr_record_study(
        read_classes(options.data),
        options.output,
        results,
        options.seeds,
        options.epochs,
        device=options.device,
    )
    do_diagnosis(study, options, summarise_cxr_record)


def summarise_cxr_record(study: ClassifierStudy) -> None:
    """The summary and the bundle, from what is finished."""
    summarise_records(
        study,
        [
            "The X-rays of the first section with two fields of their record, age and sex, on the"
            " same frozen encoder. What the record alone tells is how the images were chosen, and"
            " says nothing of pneumonia in general."
        ],
    )
    preparation = PreparationConfig.from_dict(study.settings["key"]["preparation"])
    export_study(
        study,
        MAIN,
        preparation,
        ClassifierDescription(
            "cxr-record",
            "Pneumonia or no finding in a chest X-ray, with age and sex",
            data="NIH ChestX-ray14 (Wang et al. 2017), NIH open use",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
