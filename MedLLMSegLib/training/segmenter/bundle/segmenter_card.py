"""The model card and licence of a bundle, made from its metadata: no figure stands here that was
not measured.
"""

from __future__ import annotations

from collections.abc import Sequence

from MedLLMSegLib.metrics.overlap import METRICS
from MedLLMSegLib.registry.cards import (
    domain_section,
    group_statistics,
    join_sections,
    licence_file_text,
    licence_section,
    sha256_section,
    title_section,
    wrap_paragraph,
)
from MedLLMSegLib.registry.catalogue import measured_model
from MedLLMSegLib.registry.input_channels import InputChannel, channels_of, listed
from MedLLMSegLib.registry.monai_fields import REQUIRED, class_names
from MedLLMSegLib.registry.monai_inference import runs_in_monai
from MedLLMSegLib.registry.own_figures import is_of, training_words
from MedLLMSegLib.registry.segmenter_settings import LARGEST_PART_RULES, largest_part_rule
from MedLLMSegLib.reporting.markdown import table

from .ablation_card import ablation_lines, names_groups, structures_option
from .quality_card import quality_lines

MOST_COLUMNS = 6  # of structures, in a table that can be read


def model_card(metadata: dict) -> str:
    """The card in Markdown."""
    measured = (_measured, _calibration, quality_lines, domain_section)
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
    if "share" in chosen:
        when = f"{chosen['share']:.0%} of the way from the model it began with to the trained one"
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


def _measured(m: dict) -> list[str]:
    blocks, case, results, folds = (
        ["## Measured"],
        m.get("case", "case"),
        m.get("results"),
        m.get("cross_validation"),
    )
    blocks.append(f"Accuracy: {m['accuracy']}.")
    if results is not None and not is_of(results, measured_model(m)):
        results = None  # of what the model was before
    if results is None and folds is None:
        return [*blocks, "Nothing has been measured yet."]
    if results is not None:
        calibrated = " --calibration" if results.get("calibration") else ""
        precision, some = results.get("precision") or [], structures_option(results)
        some += f" --precision {precision[0]}" if len(precision) == 1 else ""
        blocks += [
            wrap_paragraph(
                f"On {_how_many(results, m)} {training_words(results, measured_model(m))}, at their"
                " own resolution:"
            ),
            _table(results),
            wrap_paragraph(_rules(results, m)),
            "Printed by",
            (
                f"    medllmseg evaluate --model {m['id']} --data"
                f" {results.get('data') or 'DATA'}{some}{calibrated} --output test.csv"
            ),
        ]
    if folds is not None:
        blocks += [
            wrap_paragraph(
                "Figures of the recipe, not of the weights in this folder: in cross-validation over"
                f" {_how_many(folds, m)}, trained anew for each part, each {case} was measured with"
                " the weights that had not seen its group. Those weights are not kept."
            ),
            _table(folds),
            wrap_paragraph(_rules(folds, m)),
        ]
        if m.get("folds_command"):
            blocks += ["Printed by", f"    {m['folds_command']}"]
        if m.get("folds_note"):
            blocks.append(wrap_paragraph(m["folds_note"]))
    return blocks


def _how_many(summary: dict, m: dict) -> str:
    groups = (
        f" of {summary['groups']} {m.get('group', 'patient')}s" if names_groups(summary) else ""
    )
    return f"{summary['cases']} {m.get('case', 'case')}s{groups}"


def _table(summary: dict) -> str:
    """One row a metric, one column a structure and one for their mean; of many structures the
    other way round.
    """
    metrics, means = (group_statistics(summary)[name] for name in ("metrics", "means"))
    keys = list(summary["structures"])
    if len(keys) > MOST_COLUMNS:
        return _tall_table(keys, metrics, means)
    rows = [f"| | {' | '.join(keys)} | mean of structures |", "|---" * (len(keys) + 2) + "|"]
    for name in [n for n in METRICS if n in metrics]:
        rows.append(
            "| "
            + " | ".join(
                [METRICS[name].title, *(_cell(metrics[name][k]) for k in keys), _cell(means[name])]
            )
            + " |"
        )
        if name == "dice":
            each = [*(metrics[name][k] for k in keys), means[name]]
            rows.append(
                "| Dice, standard deviation | " + " | ".join(_number(s["sd"]) for s in each) + " |"
            )
    return "\n".join(rows)


def _tall_table(keys: list[str], metrics: dict, means: dict) -> str:
    """One row a structure, one column a metric."""
    names = [name for name in METRICS if name in metrics]
    rows = [
        [name, *(_cell(values) for values in found)]
        for name, found in (
            *((key, [metrics[name][key] for name in names]) for key in keys),
            ("mean of structures", [means[name] for name in names]),
        )
    ]
    return table(("structure", *(METRICS[name].title for name in names)), rows)


def _cell(s: dict) -> str:
    interval = (
        f" ({_number(s['low'])} to {_number(s['high'])})"
        if s["low"] is not None and s["high"] is not None
        else ""
    )
    return _number(s["mean"]) + interval


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _rules(summary: dict, m: dict) -> str:
    case = m.get("case", "case")
    group = m.get("group", "patient") if names_groups(summary) else case
    text = (
        f"Means over {group}s, of whose {case}s the mean is taken first; in brackets the 95 %"
        f" interval, bootstrapped over {group}s."
        if "group_metrics" in summary
        else (
            f"Means over {case}s; in brackets the 95 % interval of the mean, bootstrapped over"
            f" {group}s (what belongs to one is kept together)."
        )
    )
    if summary.get("assumption"):
        text += f" {summary['assumption']}"
    if summary.get("precision"):
        text += f" The network ran in {' and '.join(summary['precision'])}."
    if summary.get("failed"):
        text += f" {summary['failed']} {case}s could not be segmented and count as 0."
    return text + (f" Rule: {summary['rule']}." if summary.get("rule") else "")


def _calibration(m: dict) -> list[str]:
    c = m.get("calibration")
    if not c:
        return []
    text = (
        f"The logits are divided by {c['temperature']:.3f}, chosen on cases that were not"
        " trained on."
        if c.get("temperature", 1.0) != 1.0
        else ""
    )
    if c.get("not_fitted"):
        text = f"**The probabilities are not calibrated.** {c['not_fitted']}"
    if c.get("dice_lines"):
        text += (
            " The Dice that the model expects of a structure is a line through its mean confidence,"
            f" fitted on {c['dice_lines_images']} synthesised heads of the val maps; `python -m"
            " MedLLMSegLib.studies.brain_figures --calibration` does it."
        )
    if c.get("ece") is not None:
        mean = ((m.get("results") or {}).get("means") or {}).get("ece")
        text += (
            f" Expected calibration error {c['ece']:.4f} over all test {m.get('case', 'case')}s'"
            " voxels together"
            + (f" ({c['where']})" if c.get("where") else "")
            + (
                f", {mean['mean']:.4f} in the mean of the {m.get('case', 'case')}s."
                if mean
                else "."
            )
        )
    if c.get("risk_coverage") is not None and c.get("risk_coverage_random") is not None:
        text += (
            f" Area under the risk-coverage curve of the uncertainty map {c['risk_coverage']:.4f},"
            f" against {c['risk_coverage_random']:.4f} of a random one (lower is better)."
        )
    part = c.get("largest_part")
    how = largest_part_rule(m["preprocessing"])
    if part and part["kept"] and how:
        text += (
            f" What is kept is {LARGEST_PART_RULES[how]}, as this was better on the same cases"
            f" (mean Dice {part['dice_largest']:.4f} against {part['dice_all']:.4f})."
        )
    return ["## Calibration", wrap_paragraph(text)]


def _limits(m: dict) -> list[str]:
    if m.get("limits"):
        return ["## What it cannot do", wrap_paragraph(m["limits"])]
    own = (
        f"It knows only what its {m['chosen']['trained_on']} training cases show. Other scanners,"
        " contrasts, ages and diseases were not tested. Look at every result."
    )
    return ["## What it cannot do", wrap_paragraph(own)]
