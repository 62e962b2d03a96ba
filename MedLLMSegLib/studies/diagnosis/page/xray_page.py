"""The X-ray section of the page: the data, the view as a shortcut, subgroups and feature maps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from MedLLMSegLib.data.image_table import ImageCase
from MedLLMSegLib.diagnosis.classifier_description import ClassifierDescription
from MedLLMSegLib.diagnosis.input_checks import typical_image
from MedLLMSegLib.evaluation.evaluate_classifier import subgroup_columns
from MedLLMSegLib.evaluation.tsne_map import ColumnPrediction, map_features, predict_from_features
from MedLLMSegLib.metrics.subgroups import measure_shortcut
from MedLLMSegLib.registry.classifier_config import PreparationConfig
from MedLLMSegLib.reporting.classification_plots import draw_map
from MedLLMSegLib.studies.diagnosis.arms import CONTROLS, MAIN
from MedLLMSegLib.studies.diagnosis.classifier_study import ClassifierStudy
from MedLLMSegLib.studies.diagnosis.export_study import export_study
from MedLLMSegLib.studies.study.runs import Run
from MedLLMSegLib.training.classifier.examples import features_of

from .study_summary import summarise

DETAILED = (MAIN, "linear")
MAPPED = (MAIN, "linear", "random", "fine-tuned")  # arms whose features are looked at
SHIPPED = "depth-1"  # its one layer comes with the program, so that a diagnosis fetches nothing
ABOUT = ClassifierDescription(
    "cxr-pneumonia",
    "Pneumonia or no finding in a frontal chest X-ray (NIH labels)",
    licence="NIH open use",
    data="NIH ChestX-ray14 (Wang et al. 2017), a part of it: No Finding against Pneumonia",
    data_note=(
        "The labels were read from radiology reports by a program. No patient is in two splits."
    ),
    limits=(
        "It is no detector of pneumoconiosis, tuberculosis, tumours or anything but what NIH's"
        ' labels call pneumonia, and "no finding" is no statement that a chest is healthy. Most of'
        " its pneumonia images carry other labels too (infiltration, atelectasis, oedema, effusion)"
        " and its other images none at all, so that it tells rather a chest with any finding from"
        " one without: it was never shown another disease without pneumonia. It was trained on"
        " whole images of one hospital. How the image was taken (AP, as in bed, or PA) alone gives"
        " much of the class away in these data, so that a high probability may speak of the view."
        " Lateral views, other devices and images cropped to the lungs were not tested, and"
        " children hardly (see the ages above). Look at every image."
    ),
    references=(
        "Wang et al. ChestX-ray8: hospital-scale chest X-ray database and benchmarks. CVPR 2017.",
        (
            "Song et al. PneumoLLM: harnessing the power of large language model for pneumoconiosis"
            " diagnosis. arXiv 2312.03490."
        ),
    ),
    authors="The MedLLMSeg authors",
)


def summarise_cxr(
    study: ClassifierStudy, cases: Mapping[str, Sequence[ImageCase]], docs: Path
) -> dict:
    """The study's summary with subgroups, its introduction and feature maps, and the bundle,
    from what is finished.
    """
    study.results.put("text", _introduction(study, cases))
    lines = _feature_maps(study, cases, Path(docs))
    if lines:  # else the maps of an earlier call stay
        study.results.put("pictures", lines)
    typical = typical_image(study.splits["train"].fields["image"].float().numpy())
    export_study(
        study,
        SHIPPED,
        PreparationConfig.from_dict(study.settings["key"]),
        replace(ABOUT, typical=typical),
    )
    return summarise(study, MAIN, CONTROLS, subgroup_columns(cases["test"]), DETAILED)


def _feature_maps(
    study: ClassifierStudy, cases: Mapping[str, Sequence[ImageCase]], docs: Path
) -> list[str]:
    """A t-SNE map of each of `MAPPED` that has weights here (first seed), and a table of what
    can be told from its features.
    """
    rows, pictures = [], []
    shown = [*cases["val"], *cases["test"]]
    classes = study.arms[MAIN].network_config.classes
    values = {
        "class": [classes[c.target] for c in shown],
        "view": [c.columns.get("view", "") for c in shown],
    }
    for arm in MAPPED:
        run = Run(arm, study.seeds[0])
        if run.name not in study.results.runs or not study.weights(run).exists():
            continue
        network, seen = study.trained(run), study.seen(arm)
        features = np.concatenate(
            [features_of(network, seen[split], study.device) for split in ("val", "test")]
        )
        predictions = {
            name: predict_from_features(features, each, [c.group for c in shown])
            for name, each in values.items()
        }
        picture = f"images/diagnosis-tsne-{arm}.png"
        draw_map(
            map_features(features),
            values,
            docs / picture,
            f"{arm}: t-SNE of what the last layer sees, val and test images",
        )
        rows.append(f"| `{arm}` | {_auc(predictions['class'])} | {_auc(predictions['view'])} |")
        pictures.append(f"![t-SNE of the features of {arm}, by class and by view]({picture})")
    if not rows:
        return []
    return [
        (
            f"What the features of the last layer tell ({len(shown)} val and test images, first"
            " seed): cross-validated logistic regression over whole patients, AUC with its 95 %"
            " interval; chance is 0.5. What tells the view can lean on it. The maps are t-SNE"
            " (openTSNE): to look at, not to measure."
        ),
        "| arm | class | view |\n|---|---|---|\n" + "\n".join(rows),
        *pictures,
    ]


def _auc(prediction: ColumnPrediction | None) -> str:
    return "-" if prediction is None else str(prediction.auc)


def _introduction(study: ClassifierStudy, cases: Mapping[str, Sequence[ImageCase]]) -> list[str]:
    counts = ", ".join(f"{len(each)} {name}" for name, each in cases.items())
    patients = ", ".join(f"{len({c.group for c in each})} {name}" for name, each in cases.items())
    loop = study.settings["loop"]
    text = (
        f"Images: {counts}; patients: {patients}. Every arm: {study.settings['key']['size']}"
        f" pixels, {loop['epochs']} epochs of AdamW (batch {loop['batch']}, weight decay"
        f" {loop['weight_decay']:g}, cosine with {loop['warmup_epochs']} epochs of warm-up),"
        f" {loop['views']} views of each training image through a frozen encoder. Learning rate"
        f" chosen on val from {', '.join(f'{r:g}' for r in study.rates)} with the first seed; arms"
        " that only change a part of PneumoLLM take its own, but not the control `random`."
    )
    shipped = (
        f"The bundle `{ABOUT.id}` that comes with the program is the arm `{SHIPPED}`, as its one"
        " layer comes along too; its seed is the one that is best on val."
    )
    return [text, *_other_labels(cases), *_shortcut(cases), shipped]


def _other_labels(cases: Mapping[str, Sequence[ImageCase]]) -> list[str]:
    """What else the images of the second class have, by the data's column of all labels, parted
    by "|".
    """
    every = [c for each in cases.values() for c in each]
    if "nih_labels" not in every[0].columns:
        return []
    labels = [
        set(c.columns["nih_labels"].split("|")) - {"Pneumonia"} for c in every if c.target == 1
    ]
    counted = Counter(label for each in labels for label in each).most_common(4)
    told = (
        f"{sum(map(bool, labels))} of the {len(labels)} pneumonia images carry other labels too "
        f"({', '.join(f'{name.lower()} {count}' for name, count in counted)})"
    )
    healthy = [c.columns["nih_labels"] == "No Finding" for c in every if c.target == 0]
    if all(healthy):
        told += (
            f", and none of the {len(healthy)} others has any: no arm was shown another disease"
            " without pneumonia"
        )
    return [f"**What is told apart is broader than its name.** {told}."]


def _shortcut(cases: Mapping[str, Sequence[ImageCase]]) -> list[str]:
    if "view" not in cases["train"][0].columns:
        return []
    truth = {name: np.array([c.target for c in each]) for name, each in cases.items()}
    view = {name: [c.columns["view"] for c in each] for name, each in cases.items()}
    on_test = measure_shortcut(view["train"], truth["train"], view["test"], truth["test"])
    all_truth = np.concatenate(list(truth.values()))
    all_views = [value for values in view.values() for value in values]
    on_all = measure_shortcut(view["train"], truth["train"], all_views, all_truth)
    return [
        "**The view is a shortcut.** Guessing from the view alone (the commoner class of each view"
        f" among the training images) is right in {100 * on_test.accuracy:.1f} % of the {on_test.n}"
        f" test images and {100 * on_all.accuracy:.1f} % of all {on_all.n} (AUC {on_test.auc:.3f}"
        f" and {on_all.auc:.3f}), counted from labels.csv. The data's README states 61.7 % and not"
        " how it was counted. A figure that does not stand clearly above these says nothing of"
        " lungs, so the subgroups below are by view."
    ]
