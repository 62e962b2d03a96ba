"""What a card says of the parts of a network, by `medllmseg evaluate --ablate`."""

from __future__ import annotations

import shlex

from MedLLMSegLib.core.types import Json
from MedLLMSegLib.data import patients_counted
from MedLLMSegLib.registry.cards import wrap_paragraph

_SILENCED = {
    "no_tokens": (
        "with the transformer's tokens set to zero, so that the convolutions alone see the scan,"
    ),
    "no_language_model": "with the language model bypassed",
}


def names_groups(summary: Json) -> bool:
    """Whether the groups are people that the data name, and not assumed ones.

    summary: of `medllmseg evaluate`, or the ablation in a bundle.
    """
    return "groups" in summary and patients_counted(
        summary.get("assumption") or "", summary["cases"], summary["groups"]
    )


def ablation_lines(m: Json) -> list[str]:
    """The blocks of a card, from a bundle's metadata; none where nothing was measured."""
    ablation = m.get("ablation")
    if not ablation:
        return []
    case, group = m.get("case", "case"), m.get("group", "patient")
    silenced = "; ".join(
        f"{_SILENCED[part]} {_dice(statistics)}, a change of {_change(statistics['change'])}"
        for part, statistics in ablation["parts"].items()
    )
    precision = ablation.get("precision") or []
    how = f" The network ran in {' and '.join(precision)}." if precision else ""
    asked = ablation.get("structures_asked_for")
    option = structures_option(ablation)
    option += f" --precision {precision[0]}" if len(precision) == 1 else ""
    of = f" of {', '.join(asked)}" if asked else ""
    named = names_groups(ablation)
    people = f" of {ablation['groups']} {group}s" if named else ""
    group = group if named else case
    text = (
        f"What its parts give, in mean Dice{of} on the {ablation['cases']} test {case}s{people},"
        f" with 95 % intervals over {group}s: the model as it is"
        f" {_dice(ablation['whole'])}; {silenced}. That shows what this network relies on, not what"
        f" one trained without the part would reach.{how} Printed by"
    )
    data = ablation.get("data") or "DATA"
    command = (
        f"    medllmseg evaluate --model {m['id']} --data {data} --ablate{option} --output test.csv"
    )
    return [wrap_paragraph(text), command]


def structures_option(measured: Json) -> str:
    """The option of `medllmseg evaluate` that repeats what a summary was measured on; "" for all
    structures.
    """
    asked = measured.get("structures_asked_for")
    return f" --structures {shlex.quote(','.join(asked))}" if asked else ""


def _dice(statistics: Json) -> str:
    return f"{statistics['mean']:.4f}{_interval(statistics, '.4f')}"


def _change(change: Json) -> str:
    return f"{change['mean']:+.4f}{_interval(change, '+.4f')}"


def _interval(statistics: Json, form: str) -> str:
    """The interval in brackets, or nothing where there is none."""
    low, high = statistics["low"], statistics["high"]
    return "" if low is None or high is None else f" ({low:{form}} to {high:{form}})"
