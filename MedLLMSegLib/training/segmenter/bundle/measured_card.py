"""What a segmenter's card says of its figures, and of how its probabilities were fitted."""

from __future__ import annotations

from MedLLMSegLib.metrics.overlap import METRICS
from MedLLMSegLib.registry.cards import group_statistics, wrap_paragraph
from MedLLMSegLib.registry.catalogue import measured_model
from MedLLMSegLib.registry.own_figures import is_of, training_words
from MedLLMSegLib.registry.segmenter_settings import LARGEST_PART_RULES, largest_part_rule
from MedLLMSegLib.reporting.markdown import table

from .ablation_card import names_groups, structures_option

MOST_COLUMNS = 6  # of structures, in a table that can be read


def measured_lines(m: dict) -> list[str]:
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


def calibration_lines(m: dict) -> list[str]:
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
