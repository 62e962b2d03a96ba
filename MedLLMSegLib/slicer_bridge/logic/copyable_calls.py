"""What the button does, as text to copy: lines for Slicer's Python console, and a command
without Slicer.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from dataclasses import fields
from pathlib import Path

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.scene.patient_images import count_images
from MedLLMSegLib.slicer_bridge.scene.region_nodes import faces_in_file
from MedLLMSegLib.slicer_bridge.scene.sequence_nodes import source_of

from .image_segmentation import SegmentJobOptions

DEFAULTS = {field.name: field.default for field in fields(SegmentJobOptions)}


def python_lines(volumeNode, **options) -> str:
    """Lines that segment this very node.

    options: as for `SegmentationLogic.segmentAsync`; defaults are left out.
    """
    _require_in_scene(volumeNode)
    changed = _changed_options(options)
    output, roi = changed.pop("segmentationNode", None), changed.pop("regionNode", None)
    further = changed.pop("furtherNodes", ())
    lines = ["from MedLLMSeg import MedLLMSegLogic", f"volumeNode = {_node(volumeNode)}"]
    arguments = ["volumeNode"]
    if output is not None and output.GetScene() is not None:
        lines.append(f"segmentationNode = {_node(output)}")
        arguments.append("segmentationNode")
    if roi is not None and roi.GetScene() is not None:
        lines.append(f"regionNode = {_node(roi)}")
        arguments.append("regionNode=regionNode")
    if further:
        lines.append(f"furtherNodes = [{', '.join(map(_node, further))}]")
        arguments.append("furtherNodes=furtherNodes")
    lines += [
        "logic = MedLLMSegLogic()",
        f"segmentationNode = logic.segment({', '.join([*arguments, *_as_arguments(changed)])})",
    ]
    return "\n".join(lines) + "\n"


def command_line(volumeNode, **options) -> str:
    """The command for a terminal, where `pip install` has put `medllmseg`; a line before it says
    what else is needed.
    """
    _require_in_scene(volumeNode)
    changed = _changed_options(options)
    name = re.sub(r"[^\w.-]+", "_", volumeNode.GetName() or "scan").strip("._-") or "scan"
    path, notes = _scan_file(volumeNode, name, changed.get("wholeSequence", True))
    images, more = _further_files(changed.get("furtherNodes", ()))
    notes += more
    scan = ["--input", path, *images] if images else [path]
    command = ["medllmseg", "segment", *scan, "--output", f"{name}.seg.nrrd"]
    for option in ("model", "side", "device", "engine", "augment"):
        if option in changed:
            command += [f"--{option}", str(changed[option])]
    if "withModel" in changed:
        command += ["--with", str(changed["withModel"])]
    if "structures" in changed:
        command += ["--structures", ",".join(changed["structures"])]
    if changed.get("regionNode") is not None:
        faces, is_exact = faces_in_file(changed["regionNode"], volumeNode)
        command += ["--roi", *(f"{round(mm, 3):g}" for mm in faces)]
        if not is_exact:
            notes.append("# The ROI is turned; this is the box around it along the body's axes.")
    if changed.get("uncertainty"):
        command += ["--uncertainty", f"{name}_uncertainty.nii.gz"]
    line = subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)
    return "\n".join([*notes, line]) + "\n"


def _scan_file(volumeNode, name: str, wholeSequence: bool) -> tuple[str, list[str]]:
    """(the scan's file, lines about it). name: for a file that is still to be made."""
    source = source_of(volumeNode, wholeSequence)
    held, shown = (volumeNode, volumeNode) if source is None else (source.sequence, source.proxy)
    path, notes = _file(held), []
    if count_images(volumeNode, wholeSequence) > 1:
        if path is None or not path.endswith((".nii", ".nii.gz")):
            path = f"{name}.nii.gz"
            notes.append(
                f"# First write all images into one 4D NIfTI file, {path}; of other files the"
                " command takes one image each."
            )
    elif path is None:
        path = f"{name}.nrrd"
        notes.append(f"# First save the scan as {path}: it has no file of its own, or was changed.")
    if shown is not None and shown.GetTransformNodeID():
        notes.append("# The scan's transform in Slicer is not in its file.")
    return path, notes


def _further_files(nodes) -> tuple[list[str], list[str]]:
    """(files of further images, lines about those that have none of their own)."""
    paths, notes = [], []
    for number, node in enumerate(nodes, start=2):
        path = _file(node)
        if path is None:
            path = f"image{number}.nrrd"
            notes.append(f"# First save {node.GetName()} as {path}.")
        paths.append(path)
    return paths, notes


def _require_in_scene(volumeNode) -> None:
    if volumeNode is None or volumeNode.GetScene() is None:
        raise UserError("No scan is selected; load one and choose it as the input volume.")


def _changed_options(options: dict) -> dict:
    """The options that differ from their defaults; TypeError for one that does not exist."""
    checked = SegmentJobOptions(**options)  # which raises it
    values = {name: getattr(checked, name) for name in options}
    return {
        name: value for name, value in values.items() if value != DEFAULTS[name] or name == "model"
    }


def _node(node) -> str:
    """An expression for a node: by its name where that is clear, else by its id."""
    name, scene = node.GetName() or "", node.GetScene()
    same = sum(scene.GetNthNode(n).GetName() == name for n in range(scene.GetNumberOfNodes()))
    if name and same == 1 and not re.search(r"[*?\[\]]", name) and scene.GetNodeByID(name) is None:
        return f"slicer.util.getNode({_text(name)})"
    return f"slicer.mrmlScene.GetNodeByID({_text(node.GetID())})"


def _as_arguments(options: dict) -> list[str]:
    return [f"{name}={_source(value)}" for name, value in options.items()]


def _source(value) -> str:
    """A value as Python's source has it; names as a list."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(_text, value))}]"
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    """A string as Python's source has it, with double quotes."""
    return json.dumps(value, ensure_ascii=False)


def _file(volumeNode) -> str | None:
    """The file or DICOM folder that holds the node's voxels, unless they were changed since."""
    storage = volumeNode.GetStorageNode()
    name = storage.GetFileName() if storage else None
    if not name or volumeNode.GetModifiedSinceRead() or not Path(name).exists():
        return None
    return str(Path(name).parent) if storage.GetNumberOfFileNames() > 1 else name
