"""The model card and licence of a bundle, made from its metadata: no figure stands here that was not measured."""
from __future__ import annotations

from pathlib import Path

from torch import Tensor

LICENCES = Path(__file__).parents[1] / "bundles" / "licences"

CARD = """# {title}

`{id}` version {version}. {modality}. Structures: {structures}.

**Research use only; not a medical device.** It has not been validated for any clinical purpose.

## What it is
A MedVisionLlama network (after arXiv 2410.02458; hybrid attention and fusion are our own design) with {count:.2f} million
trained parameters, stored as fp16. {llm} The bundle works together with the localizer `{localizer}`, which finds the
organ in whole heads.

## Data
{data}. Trained on {trained_on} crops, the epoch chosen on {chosen_on} others (epoch {epoch}, mean Dice {val_dice:.3f}
there). The two crops of one head lie in the same split. Licence of this model: **{licence}** (share-alike: what you
train from it carries the same licence).

## Measured
Accuracy: {accuracy}.

{results}

## What it cannot do
It was trained on T1 crops of adults at 1 mm from one hospital. Other contrasts, children, lesions, resections and severe
atrophy were not tested. In whole heads the outline depends on the localizer. Look at every result.
"""

MEASURED = """On {cases} test crops that had no part in training or choosing, at their own resolution:

| structure | mean Dice | standard deviation | 95 % interval of the mean |
|---|---|---|---|
{rows}

The interval is bootstrapped over heads (the two crops of one head are kept together). Printed by

    medllmseg evaluate --model {id} --data hippocampus --output test.csv

where `hippocampus` is the Decathlon's folder with the `splits.json` of this project.
"""


def model_card(metadata: dict, tensors: dict[str, Tensor]) -> str:
    """The card in Markdown."""
    llm = (f"Its encoder holds a frozen language-model block ({metadata['llm']}, Apache-2.0), which is not part of this "
           "folder. Whether that block helps has not been tested yet." if metadata.get("llm") else
           "It holds no language-model block.")
    return CARD.format(**{**metadata, **metadata["chosen"], "structures": ", ".join(metadata["structures"]), "llm": llm,
                          "count": sum(t.numel() for t in tensors.values()) / 1e6, "results": _results(metadata["id"], metadata["results"])})


def _results(model: str, results: dict | None) -> str:
    if results is None:
        return "Nothing has been measured yet."
    named = {**results["structures"], "mean of structures": results["mean"]}
    rows = "\n".join(f"| {key} | {s['mean']:.3f} | {s['sd']:.3f} | {s['low']:.3f} to {s['high']:.3f} |"
                     for key, s in named.items())
    return MEASURED.format(cases=results["cases"], rows=rows, id=model)


def bundle_licence(metadata: dict) -> str:
    """The text of LICENSE: whose data, which licence, and its full text."""
    text = (LICENCES / f"{metadata['licence']}.txt").read_text(encoding="utf-8")
    return (f"The weights in this folder are licensed under {metadata['licence']}, the licence of the data they were trained "
            f"on:\n{metadata['data']}.\n\n{text}")
