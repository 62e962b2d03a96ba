"""The sections that every model card shares, and the text of LICENSE, from a bundle's metadata."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from typing import TypeAlias

from MedLLMSegLib.core.types import Json

from .catalogue import BUNDLES, WEIGHTS, measured_model

# Metadata -> the blocks of Markdown of one section.
Section: TypeAlias = Callable[[Json], list[str]]

LICENCES = BUNDLES / "licences"
WIDTH = 118  # characters of a line of a card
RESEARCH_ONLY = "Research use only; not a medical device."


def join_sections(metadata: Json, sections: Iterable[Section]) -> str:
    """A card in Markdown: the blocks of all sections, without empty ones."""
    blocks = [block for section in sections for block in section(metadata)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def wrap_paragraph(text: str) -> str:
    """A paragraph with lines of at most `WIDTH` characters."""
    one_line = " ".join(text.split())
    return textwrap.fill(one_line, WIDTH, break_long_words=False, break_on_hyphens=False)


def title_section(metadata: Json, contents: str) -> list[str]:
    """Title, id and intended use. contents: what the model knows, such as "Structures: liver."."""
    summary = (
        f"`{metadata['id']}` version {metadata['version']}. {metadata['modality']}. {contents}"
    )
    return [
        f"# {metadata['title']}",
        wrap_paragraph(summary),
        f"**{RESEARCH_ONLY}** It has not been validated for any clinical purpose.",
    ]


def licence_section(metadata: Json, data_text: str) -> list[str]:
    """Training data and licence. data_text: about the data, in a card's own words."""
    note = f" ({metadata['licence_note']})" if metadata.get("licence_note") else ""
    return [
        "## Data and licence",
        wrap_paragraph(data_text),
        wrap_paragraph(f"Licence of this model: **{metadata['licence']}**{note}."),
    ]


def sha256_section(metadata: Json) -> list[str]:
    """The digests of the weights and of the frozen language-model layers."""
    lines = [f"    {metadata['weights_sha256']}  {WEIGHTS}"]
    if metadata.get("llm_sha256"):
        lines.append(f"    {metadata['llm_sha256']}  the frozen layers ({metadata['llm']})")
    return ["## sha256", "\n".join(lines)]


def domain_section(metadata: Json) -> list[str]:
    """By what an image of another domain is told, and how many of each kind are; nothing where that
    was measured of another model.
    """
    stored = metadata.get("domain")
    if not stored or stored.get("measured_model") != measured_model(metadata).sha256:
        return []
    text = (
        "An image counts as of another domain where the features of the encoder lie farther from"
        f" those of {stored['images']} than those of 95 of 100 validation images do (Mahalanobis's"
        " distance). Its answer is shown with a warning. The median is in units of that threshold."
    )
    rows = [
        f"| {row['images']}, {row['stored']} | {row['n']} | {row['outside']}"
        f" ({100 * row['outside'] / row['n']:.1f} %) | {row['median']:.2f} |"
        for row in stored["figures"]
    ]
    head = "| images | n | told to be outside | median |\n|---|---|---|---|"
    blocks = ["## Another domain", wrap_paragraph(text), "\n".join([head, *rows])]
    command = stored.get("command")
    return [*blocks, "Printed by", f"    {command}"] if command else blocks


def licence_file_text(metadata: Json, credit: str = "") -> str:
    """The text of LICENSE: training data, licence, credit, and the licence in full where we have
    its text.

    credit: a paragraph about others whose work the weights contain.
    """
    name = metadata["licence"]
    data = metadata.get("data") or "not stated"
    if name.startswith("not stated"):
        return (
            "No licence has been stated for the weights in this folder. That is for whoever"
            f" trained them to decide, within what the licence of the data allows.\nData: {data}.\n"
        )
    text = (
        f"The weights in this folder are licensed under {name}. They were trained"
        f" on:\n{data}.\n{credit}"
    )
    full_texts = {path.stem: path for path in LICENCES.glob("*.txt")}
    if name not in full_texts:
        return text
    return text + "\n" + full_texts[name].read_text(encoding="utf-8")


def group_statistics(summary: Json) -> Json:
    """Statistics over groups (patients, say) by metric: {"metrics": of each structure, "means": of
    their mean}.

    Older versions counted cases instead of groups, and the oldest measured Dice alone; their
    summaries are read too.
    """
    if "group_metrics" in summary:
        return {"metrics": summary["group_metrics"], "means": summary["group_means"]}
    return {
        "metrics": summary.get("metrics") or {"dice": summary["structures"]},
        "means": summary.get("means") or {"dice": summary["mean"]},
    }
