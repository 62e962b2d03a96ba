"""The model card and licence of a bundle, made from its metadata: no figure stands here that was
not measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from MedLLMSegLib.registry.cards import (
    domain_section,
    join_sections,
    licence_file_text,
    licence_section,
    sha256_section,
    title_section,
    wrap_paragraph,
)
from MedLLMSegLib.registry.input_channels import InputChannel, channels_of, listed
from MedLLMSegLib.registry.monai_fields import REQUIRED, class_names
from MedLLMSegLib.registry.monai_inference import runs_in_monai

from .ablation_card import ablation_lines
from .measured_card import calibration_lines, measured_lines
from .quality_card import quality_lines


def model_card(metadata: dict) -> str:
    """The card in Markdown."""
    measured = (measured_lines, calibration_lines, quality_lines, domain_section)
    sections = (_head, _what_it_is, _use, _data, *measured, _limits)
    return join_sections(metadata, (*sections, sha256_section))


def bundle_licence(metadata: dict) -> str:
    """The text of LICENSE: whose data, which licence, and its full text where we have it."""
    base = metadata.get("fine_tuned_from")
    began = (
        f"The weights were fine-tuned from the model {base['id']}"
        f" ({base['licence'] or 'licence unknown'}).\n"
        if base
        else ""
    )
    return began + licence_file_text(metadata)


def _head(m: dict) -> list[str]:
    return title_section(m, f"Structures: {', '.join(m['structures'])}.")


def _what_it_is(m: dict) -> list[str]:
    own = [
        name
        for name, there in (
            ("hybrid attention", m["network"].get("attention") == "hybrid"),
            ("fusion", m["network"].get("fusion")),
        )
        if there
    ]
    text = (
        "A vision transformer for 3D segmentation after MedVisionLlama (arXiv 2410.02458)"
        + (f"; {' and '.join(own)} are our own design" if own else "")
        + f". {m['parameters'] / 1e6:.2f} million trained parameters, stored as fp16. {_llm(m)}"
    )
    base = m.get("fine_tuned_from")
    return [
        "## What it is",
        wrap_paragraph(text),
        (
            wrap_paragraph(
                f"It was fine-tuned from `{base['id']}` ({base['licence'] or 'licence unknown'})."
            )
            if base
            else ""
        ),
        (
            wrap_paragraph(
                f"It works together with the localizer `{m['localizer']}`, which finds the organ in"
                " whole scans."
            )
            if m.get("localizer")
            else ""
        ),
        *ablation_lines(m),
    ]


def _llm(m: dict) -> str:
    if not m.get("llm"):
        return "It holds no language-model block."
    licence = f", {m['llm_licence']}" if m.get("llm_licence") else ""
    return (
        f"Its encoder holds a frozen language-model block ({m['llm']}{licence}), which is not part"
        " of this folder. "
        + (m.get("finding") or "Whether that block helps was not tested for this model.")
    )


def _use(m: dict) -> list[str]:
    extra = ", ".join(REQUIRED)
    crops = (
        " It takes crops around one organ of unspecified side; whole scans need `medllmseg"
        " segment`, whose localizer finds the organ."
        if m.get("anatomy")
        else ""
    )
    if m["network"].get("sides"):
        crops = " There, a scan without a brain is not refused, and nothing is warned of."
    rows = "\n".join(f"| {n} | {name} |" for n, name in _label_values(m))
    channels = channels_of(m["preprocessing"])
    several = [wrap_paragraph(_several_images(channels))]
    runner = _monai_runner(extra, crops) if runs_in_monai(m) else several
    labels = ["| label | structure |\n|---|---|\n" + rows]
    if m.get("anatomy"):
        labels.append(
            wrap_paragraph(
                "These are the labels in a crop of unspecified side; where the side is known, the"
                " left organ has them and the right one the numbers after them."
            )
        )
    return [
        "## How to use it",
        wrap_paragraph(m["intended_use"]),
        f"    medllmseg segment {_example_input(channels)} --model {m['id']}"
        " --output labels.nii.gz",
        *runner,
        *labels,
    ]


def _monai_runner(extra: str, crops: str) -> list[str]:
    """How MONAI's own runner runs it. extra: packages. crops: what it cannot do there."""
    return [
        wrap_paragraph(
            "In place of the id, the path of this folder will do. MONAI's own runner gives the"
            f" label map of `--precision fp32`. It needs medllmseg and the packages {extra}, and"
            f" runs from this folder.{crops}"
        ),
        (
            "    python -m monai.bundle run --config_file configs/inference.json --bundle_root ."
            " \\\n        --scan scan.nii.gz --output_dir out"
        ),
    ]


def _example_input(channels: Sequence[InputChannel]) -> str:
    if len(channels) <= 1:
        return "scan.nii.gz"
    return "--input " + " ".join(f"{channel.name}.nii.gz" for channel in channels)


def _several_images(channels: Sequence[InputChannel]) -> str:
    return (
        f"It takes {len(channels)} images of one patient, in this order: {listed(channels)}. The"
        " result lies on the grid of the first, onto which the others are resampled; they must be"
        " registered. In place of the id, the path of this folder will do. MONAI's own runner"
        " cannot run it, as it reads one image a patient."
    )


def _label_values(m: dict) -> list[tuple[int, str]]:
    if m.get("labels"):
        return [(each["label"], each["name"]) for each in m["labels"]]
    return list(enumerate(class_names(m)))[1:]


def _data(m: dict) -> list[str]:
    if m.get("label_maps"):
        return licence_section(m, _synthesised(m))
    chosen, case = m["chosen"], m.get("case", "case")
    when = f"step {chosen['step']}" if "step" in chosen else f"epoch {chosen['epoch']}"
    text = (
        f"{m.get('data') or 'Not stated'}. Trained on {chosen['trained_on']} {case}s, the best"
        f" weights chosen on {chosen['chosen_on']} others ({when}, mean Dice"
        f" {chosen['val_dice']:.3f} there). {m.get('data_note', '')}"
    )
    return licence_section(m, text)


def _synthesised(m: dict) -> str:
    """How a model was trained that has never seen a scan."""
    training = m["training"]
    return (
        f"{m['data'][:1].upper()}{m['data'][1:]}. Trained on {len(m['label_maps']['train'])} maps"
        f" and watched on {len(m['label_maps']['val'])} others, whose sha256 are in the metadata:"
        f" {training['step']} steps in {training['hours']:.1f} hours. The weights are the moving"
        " average of the training's."
    )


def _limits(m: dict) -> list[str]:
    if m.get("limits"):
        return ["## What it cannot do", wrap_paragraph(m["limits"])]
    own = (
        f"It knows only what its {m['chosen']['trained_on']} training cases show. Other scanners,"
        " contrasts, ages and diseases were not tested. Look at every result."
    )
    return ["## What it cannot do", wrap_paragraph(own)]
