"""docs/unets.md: the arms of `unets` beside each other on each data set, and its gates."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from MedLLMSegLib.core.safe_files import make_folder, write_text
from MedLLMSegLib.core.types import Json
from MedLLMSegLib.metrics.group_statistics import summarize
from MedLLMSegLib.metrics.paired_tests import Comparison, Table, paired_tests
from MedLLMSegLib.networks.segmentation.gated_unet import GatedResidualUNet
from MedLLMSegLib.reporting.markdown import p_value

from .study.page import ArmRow, TableForm, arms_table, difference_text
from .study.settings import read_json

PAGE = "unets.md"
ARMS = {
    "gates": "U-Net with residual units and attention gates",
    "dynunet": "DynUNet, planned like nnU-Net",
    "no-gates": "the U-Net with residual units, without its gates",
    "unetr": "UNETR: a transformer as encoder (Hatamizadeh et al. 2022)",
    "swinunetr": "SwinUNETR: shifted windows as encoder, 24 features (Hatamizadeh et al. 2022)",
}
OURS = "gates"
MARGIN = 0.01  # Dice: what counts as equally good
DIGITS = 3
PLANES = 3  # of a case's gate maps
# Of the pictures of gates, which show a case.
CREDITS = {
    "hippocampus": (
        " The case is from Task04 of the Medical Segmentation Decathlon (Antonelli et al., Nature"
        " Communications 2022), CC BY-SA 4.0; so is this picture."
    ),
    "acdc": (
        " The case is from ACDC (Bernard et al., IEEE Transactions on Medical Imaging 2018),"
        " CC BY-NC-SA 4.0; so is this picture."
    ),
}

# What the article lists beside MedVisionLlama and is not run here: (name, what it does, code and
# licence, the arm that stands nearest). Looked up on 2026-11-30; "none found" is of the stored
# snapshots of the repositories.
RELATED = (
    (
        "TransUNet (Chen et al. 2021)",
        "a ViT between a ResNet encoder and a convolutional decoder with skips, slice by slice",
        "Beckschen/TransUNet, no licence found in the snapshot",
        "unetr",
    ),
    (
        "seUNet-Trans (Pham et al. 2023)",
        "a U-Net's features through a bridge into a transformer with spatial-reduction attention",
        "no code found",
        "unetr",
    ),
    (
        "MERIT (Rahman and Marculescu 2023)",
        "two MaxViT branches at two scales, cascaded attention decoders with gates, mixed losses",
        "SLDGroup/MERIT, no licence found",
        "gates",
    ),
    (
        "MedT (Valanarasu et al. 2021)",
        "axial attention with gated positions, one branch for the image and one for patches",
        "jeya-maria-jose/Medical-Transformer, no licence found in the snapshot",
        "swinunetr",
    ),
    (
        "MedSegDiff-V2 (Wu et al. 2023)",
        "a diffusion model that draws the mask, conditioned on the image by a transformer",
        "repository not in the library; licence not checked",
        "none: nothing here draws masks",
    ),
    (
        "CA-GANformer, later CASTformer (You et al. 2022)",
        "a pyramid transformer with class-aware sampling, trained against a discriminator",
        "promised in the paper; none found",
        "swinunetr",
    ),
    (
        "DEC-Seg (Zhou et al. 2023)",
        "semi-supervised: one image at two scales must get one answer; for unlabelled data",
        "taozh2017/DECSeg, no licence found",
        "no-gates",
    ),
    (
        "AC-Former (Huang et al. 2023)",
        "finds cell nuclei as points, with learnt affine warps; it outlines nothing",
        "repository not in the library; licence not checked",
        "none: another task",
    ),
)


def write_page(results: Path, docs: Path, output: Path) -> Path:
    """Write the page of all data sets in the results; pictures come from the runs' folder where
    they are there.
    """
    whole = read_json(results)
    for picture in output.glob("gates-*.png"):
        make_folder(docs / "images")
        shutil.copyfile(picture, docs / "images" / picture.name)
    parts = [
        "# U-Nets beside each other",
        (
            "A 3D U-Net with residual units **and** attention gates, against the network that"
            " nnU-Net plans, and two transformers. Every arm is trained from nothing with the same"
            " steps, samples, optimiser and learning rate; none of these networks ships. The budget"
            " is short: the figures compare arms, and say nothing of what each can reach."
        ),
        _answer(whole),
    ]
    for name, study in sorted(whole.items()):
        parts += _section(name, study, docs)
    parts += ["## What else the article lists", _related()]
    write_text(docs / PAGE, "\n\n".join(parts) + "\n")
    return docs / PAGE


def _answer(whole: Mapping[str, Json]) -> str:
    lines = []
    for name, study in sorted(whole.items()):
        tests = comparisons(study)
        if "dynunet" not in tests:
            lines.append(f"- `{name}`: not run yet.")
            continue
        test = tests["dynunet"]
        within = "within" if test.margin <= MARGIN else "not shown to be within"
        difference = difference_text(test.difference, test.low, test.high, DIGITS)
        lines.append(
            f"- `{name}`: gates and residual units against DynUNet {difference} Dice, {within}"
            f" {MARGIN}."
        )
    return "\n".join(lines)


def _section(name: str, study: Json, docs: Path) -> list[str]:
    settings, runs = study["settings"], study["runs"]
    tests = comparisons(study)
    rows = [_row(arm, settings, runs, tests.get(arm)) for arm in ARMS]
    form = TableForm(
        "mean Dice (95 %)",
        "each seed",
        DIGITS,
        further=("HD95, mm", "parameters, million", "min a training"),
        against="difference from the first (95 %; ± excluded)",
    )
    cases = settings["cases"]
    spacing = " x ".join(f"{mm:g}" for mm in settings["spacing_mm"])
    window = " x ".join(map(str, settings["window"]))
    picture = f"images/gates-{name}.png"
    people = len(set(settings["groups"].values()))
    text = (
        f"{len(cases['test'])} test cases of {people} people, structures"
        f" {', '.join(settings['structures'])}; {len(cases['train'])} cases to train on,"
        f" {len(cases['val'])} to choose the weights by. {settings['steps']} steps of AdamW, batch"
        f" {settings['batch']}, window {window} voxels of {spacing} mm (k, j, i), rate"
        f" {settings['lr']:g}, {settings['precision']}. At the scans' own resolution, nothing"
        " cleaned up. Intervals: bootstrap over people; p: paired permutation over people, Holm's"
        " correction. Minutes are of one core beside other work."
    )
    if len(settings["seeds"]) == 1:
        text += " One seed: the luck of first weights and of the samples' order is in no interval."
    if "remark" in study:  # on what happened while it ran, written into the results by hand
        text += f" {study['remark']}"
    parts = [f"## {name}", arms_table(form, rows), text]
    if (docs / picture).exists():
        parts += [
            f"![Where the gates open on a case of {name}]({picture})",
            (
                "A val case, and what each gate lets through, from the finest to the coarsest:"
                " white is 1, black 0. A gate weighs places, not reasons: it is no explanation."
                + CREDITS.get(name, "")
            ),
        ]
    return [*parts, f"    {study.get('command', 'python -m MedLLMSegLib.studies.unets')}"]


def _row(arm: str, settings: Json, runs: Mapping[str, Json], test: Comparison | None) -> ArmRow:
    finished = [runs[name] for seed in settings["seeds"] if (name := f"{arm}-{seed}") in runs]
    title = f"`{arm}` {ARMS[arm]}"
    if not finished:
        return ArmRow(title, "", against=("", "") if arm == OURS else None)
    groups = [settings["groups"][case] for case in settings["cases"]["test"]]
    each = [_means(result["test"], settings, "dice") for result in finished]
    over_seeds = summarize(np.nanmean(each, axis=0), groups)
    distance = summarize(
        np.nanmean([_means(result["test"], settings, "hd95_mm") for result in finished], axis=0),
        groups,
    )
    further = (
        f"{distance['mean']:.1f}",
        f"{finished[0]['parameters'] / 1e6:.1f}",
        f"{np.mean([result['training_seconds'] for result in finished]) / 60:.0f}",
    )
    against: tuple[str, str] | None = ("", "")
    if arm != OURS:
        against = None if test is None else _against(test)
    score = f"{over_seeds['mean']:.3f} ({over_seeds['low']:.3f} to {over_seeds['high']:.3f})"
    seeds = [float(np.nanmean(values)) for values in each]
    return ArmRow(title, score, seeds, len(settings["seeds"]) - len(seeds), further, against)


def _against(test: Comparison) -> tuple[str, str]:
    """An arm's difference from `OURS`, which the test has the other way round."""
    difference = difference_text(-test.difference, -test.high, -test.low, DIGITS)
    return difference, p_value(test.p_holm, error=test.p_holm_error)


def _means(test: Json, settings: Json, metric: str) -> list[float]:
    """The mean over structures of each test case."""
    values = [
        [math.nan if value is None else value for value in test[case][metric]]
        for case in settings["cases"]["test"]
    ]
    return [float(np.nanmean(each)) for each in values]


def comparisons(study: Json) -> dict[str, Comparison]:
    """Arm -> `OURS` against it, of arms whose seeds are all finished."""
    settings, runs = study["settings"], study["runs"]
    tables: dict[str, list[Table]] = {}
    for arm in ARMS:
        names = [f"{arm}-{seed}" for seed in settings["seeds"]]
        if all(name in runs for name in names):
            tables[arm] = [_table(runs[name]["test"]) for name in names]
    pairs = [(OURS, arm) for arm in tables if arm != OURS]
    if OURS not in tables or not pairs:
        return {}
    tests = paired_tests(tables, settings["groups"], pairs=pairs)
    return {other: test for (_, other), test in zip(pairs, tests, strict=True)}


def _table(test: Json) -> Table:
    return {
        case: {
            f"dice_{number}": math.nan if value is None else value
            for number, value in enumerate(metrics["dice"])
        }
        for case, metrics in test.items()
    }


def _related() -> str:
    lines = [
        f"- **{name}**: {what}. Code: {code}. Nearest arm: {nearest}."
        for name, what, code, nearest in RELATED
    ]
    return "\n".join(lines)


def gate_picture(network: GatedResidualUNet, case: Json, path: Path) -> None:
    """A case's middle planes of the structures, and beside each what the gates let through. Needs
    matplotlib.

    case: prepared (`prepare_case`), no larger than what goes through at once.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib.figure import Figure

    image, label = (np.asarray(case[name][0]) for name in ("image", "label"))  # (K, J, I)
    maps = [
        _enlarged(each, image.shape) for each in network.gate_maps(torch.tensor(image)[None, None])
    ]
    rich = np.argsort((label > 0).sum(axis=(1, 2)))[::-1][:PLANES]
    figure = Figure(figsize=(2.2 * (1 + len(maps)), 2.2 * len(rich)), layout="constrained")
    panels = figure.subplots(len(rich), 1 + len(maps), squeeze=False)
    for row, k in zip(panels, sorted(rich), strict=True):
        row[0].imshow(image[k], cmap="gray")
        row[0].contour(label[k] > 0, levels=[0.5], colors="orange", linewidths=1)
        for panel, opened in zip(row[1:], maps, strict=True):
            panel.imshow(opened[k], cmap="gray", vmin=0, vmax=1)
    titles = ["image and labels", *(f"gate {number}" for number in range(1, 1 + len(maps)))]
    for panel, title in zip(panels[0], titles, strict=True):
        panel.set_title(title, fontsize=8)
    for panel in panels.flat:
        panel.set_axis_off()
    make_folder(path.parent)
    figure.savefig(path, dpi=90)


def _enlarged(gate: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """A gate's map (1, 1, ...) of the padded image on the image's grid (K, J, I)."""
    opened = gate[0, 0].numpy()
    steps = [-(-full // own) for full, own in zip(shape, opened.shape, strict=True)]
    for axis, step in enumerate(steps):
        opened = np.repeat(opened, step, axis)
    k, j, i = shape
    return opened[:k, :j, :i]
