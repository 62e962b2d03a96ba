"""What every model card and every LICENSE in a bundle has in common, made from the bundle's
metadata.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable

from .catalogue import BUNDLES, WEIGHTS

LICENCES = BUNDLES / "licences"
WIDTH = 118
RESEARCH_ONLY = "Research use only; not a medical device."


def join_sections(metadata: dict, sections: Iterable[Callable[[dict], list[str]]]) -> str:
    """The card in Markdown: the blocks of each section, without empty ones."""
    return "\n\n".join(block for section in sections for block in section(metadata) if block) + "\n"


def wrap_paragraph(text: str) -> str:
    """A paragraph in lines of at most `WIDTH`."""
    return textwrap.fill(
        " ".join(text.split()), WIDTH, break_long_words=False, break_on_hyphens=False
    )


def title_section(metadata: dict, contents: str) -> list[str]:
    """contents: what the model knows, such as "Structures: liver."."""
    m = metadata
    return [
        f"# {m['title']}",
        wrap_paragraph(f"`{m['id']}` version {m['version']}. {m['modality']}. {contents}"),
        f"**{RESEARCH_ONLY}** It has not been validated for any clinical purpose.",
    ]


def licence_section(metadata: dict, text: str) -> list[str]:
    note = f" ({metadata['licence_note']})" if metadata.get("licence_note") else ""
    return [
        "## Data and licence",
        wrap_paragraph(text),
        wrap_paragraph(f"Licence of this model: **{metadata['licence']}**{note}."),
    ]


def sha256_section(metadata: dict) -> list[str]:
    m = metadata
    lines = [f"    {m['weights_sha256']}  {WEIGHTS}"]
    lines += (
        [f"    {m['llm_sha256']}  the frozen layers ({m['llm']})"] if m.get("llm_sha256") else []
    )
    return ["## sha256", "\n".join(lines)]


def licence_file_text(metadata: dict, credit: str = "") -> str:
    """The text of LICENSE: whose data, which licence, whom else to credit, and the licence's
    full text where we have it.
    """
    name, data = metadata["licence"], metadata.get("data") or "not stated"
    texts = {path.stem: path for path in LICENCES.glob("*.txt")}
    if name.startswith("not stated"):
        return (
            "No licence has been stated for the weights in this folder. That is for whoever"
            f" trained them to decide, within what the licence of the data allows.\nData: {data}.\n"
        )
    text = (
        f"The weights in this folder are licensed under {name}. They were trained"
        f" on:\n{data}.\n{credit}"
    )
    return text + ("\n" + texts[name].read_text(encoding="utf-8") if name in texts else "")


def group_statistics(summary: dict) -> dict:
    """A summary's statistics of the structures ("metrics") and of their mean ("means"), by metric:
    over groups, which are the unit.

    What older versions measured they counted over cases, and knew Dice alone at first.
    """
    if "group_metrics" in summary:
        return {"metrics": summary["group_metrics"], "means": summary["group_means"]}
    return {
        "metrics": summary.get("metrics") or {"dice": summary["structures"]},
        "means": summary.get("means") or {"dice": summary["mean"]},
    }
