"""Nodule or not, on LUNA16's 50 x 50 CT patches: a CNN-LSTM against plain baselines.

    python -m MedLLMSegLib.studies.diagnosis.nodules --data ../shared/data/nodule2d \\
        --output runs/diagnosis

trains every arm, tests it, writes docs/diagnosis.md and a bundle in OUTPUT/nodules/bundle, which
then answers for a patch:

    medllmseg diagnose PATCH.nii.gz --model runs/diagnosis/nodules/bundle
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.core.types import Array, PathLike
from MedLLMSegLib.core.volume import Volume
from MedLLMSegLib.diagnosis.classifier_description import ClassifierDescription
from MedLLMSegLib.diagnosis.input_description import InputConfig
from MedLLMSegLib.diagnosis.slice_sequences import sequence_from_slices
from MedLLMSegLib.metrics.classification import sensitivity_at
from MedLLMSegLib.metrics.froc import Finding, froc
from MedLLMSegLib.registry.classifier_config import (
    ClassifierConfig,
    EncoderConfig,
    PreparationConfig,
)
from MedLLMSegLib.reporting.classification_plots import draw_froc
from MedLLMSegLib.studies.study.command import guarded
from MedLLMSegLib.studies.study.results import StudyResults
from MedLLMSegLib.training.classifier.classifier_recipe import ClassifierLoop
from MedLLMSegLib.training.classifier.examples import Examples
from MedLLMSegLib.training.classifier.prepared_images import step_examples

from .baselines import best_logistic
from .classifier_study import COLLECTED, ClassifierStudy
from .export_study import export_study
from .page.study_summary import summarise
from .study_command import add_options, do_diagnosis
from .study_runs import Arm, answer_of

NAME, MAIN, FILE = "nodules", "cnn-lstm", "luna16_patches50.npz"
CLASSES = ("no nodule", "nodule")
INPUT = InputConfig("slices", ("CT",), "CHEST", ())
PREPARATION = PreparationConfig(size=50, crop="none")
RATES = (3e-4, 1e-3, 3e-3)
FALSE_POSITIVES = (0.01, 0.02, 0.05, 0.1)  # a patch without a nodule


@dataclass(frozen=True, eq=False)
class Patches:
    """The patches of one split. images: (N, 50, 50) uint8. labels: (N,) 0 or 1."""

    images: Array
    labels: Array
    names: list[str]


def read_patches(data: PathLike) -> dict[str, Patches]:
    """Split -> its patches. Raises `UserError` for another file."""
    path = Path(data).expanduser() / FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {
                split: Patches(
                    arrays[f"{split}_images"],
                    arrays[f"{split}_labels"].astype(int),
                    arrays[f"{split}_names"].tolist(),
                )
                for split in ("train", "val", "test")
            }
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f'"{path}" could not be read as patches with labels and names; give the folder that'
            f" holds {FILE}."
        ) from error


def patch_examples(patches: Patches) -> Examples:
    """ "image" (N, 1, 1, 50, 50): each patch as a sequence of one slice.

    It is prepared as a diagnosis prepares it.
    """
    names = tuple(patches.names)
    volumes = (
        Volume(image[None].astype(np.float32), np.eye(4), name)
        for image, name in zip(patches.images, names, strict=True)
    )
    steps = [sequence_from_slices(volume, PREPARATION) for volume in volumes]
    return step_examples(steps, patches.labels.tolist(), names, names)


def single(examples: Examples) -> Examples:
    """The patches as plain images (N, 1, 50, 50), for networks without an LSTM."""
    return Examples(
        {"image": examples.fields["image"][:, 0]}, examples.target, examples.ids, examples.groups
    )


def nodule_study(
    splits: dict[str, Examples],
    output: Path,
    results: StudyResults,
    seeds: int = 3,
    epochs: int = 12,
    device: str = "cpu",
) -> ClassifierStudy:
    encoder = EncoderConfig("cnn", image_size=PREPARATION.size)
    arms = {
        MAIN: Arm(
            "small CNN trained here, LSTM",
            ClassifierConfig("cnn-lstm", CLASSES, encoder),
            note=(
                "a patch is a sequence of one slice, as the data hold no more: the LSTM has nothing"
                " to connect here, and takes longer sequences all the same"
            ),
        ),
        "cnn": Arm(
            "the same CNN with a linear head, no LSTM",
            ClassifierConfig("linear", CLASSES, encoder),
            view=single,
        ),
        "hog": Arm(
            "plain baseline: histograms of gradients and a 10 x 10 thumbnail, logistic regression",
            baseline=_gradients,
        ),
    }
    loop = ClassifierLoop(epochs=epochs, batch=64, warmup_epochs=1, precision="bf16")
    return ClassifierStudy(
        NAME,
        arms,
        loop,
        tuple(range(seeds)),
        RATES,
        splits,
        Path(output) / NAME,
        results,
        {"preparation": PREPARATION.to_dict()},
        device,
    )


def _gradients(train: Examples, val: Examples, test: Examples, seed: int) -> tuple[Array, Array]:
    return best_logistic(
        gradient_features(train),
        train.target.numpy(),
        gradient_features(val),
        val.target.numpy(),
        gradient_features(test),
    )


def gradient_features(examples: Examples) -> Array:
    """(N, F) histograms of oriented gradients (Dalal and Triggs 2005) in cells of 10 pixels, and
    the mean of each 5 x 5 pixels.
    """
    try:
        from skimage.feature import hog
    except ImportError as error:
        raise UserError(
            "The baseline needs the package scikit-image, which is not installed; run "
            '`pip install "medllmseg[report]"`.'
        ) from error
    images = examples.fields["image"][:, 0, 0].float()
    small = torch.nn.functional.avg_pool2d(images[:, None], 5).flatten(1).numpy()
    gradients = [
        hog(each, orientations=8, pixels_per_cell=(10, 10), cells_per_block=(2, 2))
        for each in images.numpy()
    ]
    return np.concatenate([np.stack(gradients), small], axis=1)


def summarise_nodules(study: ClassifierStudy, docs: Path) -> None:
    counts = ", ".join(
        f"{len(examples)} {split} ({int(examples.target.sum())} with a nodule)"
        for split, examples in study.splits.items()
    )
    study.results.put(
        "text",
        [
            f"Patches of 50 x 50 pixels from LUNA16's CT scans: {counts}. **They are split by"
            " patch, not by patient**, and nothing says which patches belong together, so that"
            " neighbours of a training patch may be among the test patches and the intervals,"
            " drawn over patches, are too narrow. A patch is no scan: these figures say how well"
            " candidates are told apart, not how many nodules of a scan are found."
        ],
    )
    study.results.put("pictures", _operating_points(study, docs))
    summarise(study, MAIN, ("hog",))
    export_study(
        study,
        MAIN,
        PREPARATION,
        ClassifierDescription(
            "nodule-patches",
            "Nodule or not in a patch of a chest CT",
            "CT",
            data="LUNA16 patches from LIDC-IDRI, CC BY",
            input=INPUT,
        ),
    )


def _operating_points(study: ClassifierStudy, docs: Path) -> list[str]:
    """Sensitivity at stated false positives of each arm (seeds averaged), as Markdown, and the
    curve as a picture.
    """
    test, rows, curves = study.splits["test"], [], {}
    truth = test.target.numpy()
    for name in study.arms:
        finished = study.finished(name)
        if not finished:
            continue
        scores = [answer_of(r)[0][:, 1] for r in finished.values()]
        sensitivities = np.mean([sensitivity_at(truth, s, FALSE_POSITIVES) for s in scores], axis=0)
        rows.append(f"| `{name}` | " + " | ".join(f"{v:.3f}" for v in sensitivities) + " |")
        curve = froc(
            [
                Finding(i, s, 0 if t else None)
                for i, s, t in zip(test.ids, scores[0], truth, strict=True)
            ],
            int(truth.sum()),
            len(truth),
        )
        curves[f"{name}, seed {next(iter(finished))}"] = (curve.false_positives, curve.sensitivity)
    if not rows:
        return []
    draw_froc(
        curves, Path(docs) / "images" / "diagnosis-nodules-froc.png", "false positives a patch"
    )
    head = " | ".join(f"{100 * rate:g} %" for rate in FALSE_POSITIVES)
    return [
        (
            "Sensitivity at stated false positives (share of the patches without a nodule that are"
            " called one):"
        ),
        f"| arm | {head} |\n" + "| --- " * (len(FALSE_POSITIVES) + 1) + "|\n" + "\n".join(rows),
        "![Sensitivity over false positives a patch](images/diagnosis-nodules-froc.png)",
        (
            "LUNA16's own points (1/8 to 8 false positives a scan) need whole scans;"
            " `classification/froc.py` computes them from a detector's findings and is tested on"
            " cases counted by hand."
        ),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Run the study that the arguments describe."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_options(parser)
    parser.add_argument("--epochs", type=int, default=12, help="default: %(default)s")
    return guarded(parser, f"{__package__}.nodules", arguments, _run)


def _run(options: argparse.Namespace) -> None:
    patches_of = read_patches(options.data)
    splits = {split: patch_examples(patches) for split, patches in patches_of.items()}
    study = nodule_study(
        splits,
        options.output,
        StudyResults(options.docs / COLLECTED),
        options.seeds,
        options.epochs,
        options.device,
    )
    do_diagnosis(study, options, lambda study: summarise_nodules(study, options.docs))


if __name__ == "__main__":
    sys.exit(main())
