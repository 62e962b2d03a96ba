"""Series over time: each image of a sequence segmented, and the results as a sequence beside it in
the same browser.

Slicer keeps the images of a `vtkMRMLSequenceNode` in a scene of their own; a
`vtkMRMLSequenceBrowserNode` shows one at a time through a proxy node in the main scene. The results
are gathered in a sequence outside of the scene, which enters it when all are there.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import slicer

from MedLLMSegLib.core.errors import UserError
from MedLLMSegLib.slicer_bridge.scene.overlay import map_node, name_map
from MedLLMSegLib.slicer_bridge.scene.segments import (
    BINARY_LABELMAP,
    Drawing,
    old_segments,
    set_segments,
    to_vtk,
)
from MedLLMSegLib.slicer_bridge.scene.volume_nodes import (
    ijk_to_ras,
    place_beside,
    read_volume,
    restore_place,
)
from MedLLMSegLib.slicer_bridge.scene.volumes_table import (
    make_volumes,
    remove_volumes,
    show_volumes,
    table_of,
)

from .jobs import Job, Removed, Steps, calm

if TYPE_CHECKING:
    from .segmentation_job import Options, Segmenting


@dataclass(frozen=True, eq=False)
class Source:
    """A sequence of scans. browser: that shows it, None if there is none yet. proxy: what it
    shows, None likewise.
    """

    sequence: Any
    browser: Any = None
    proxy: Any = None


class SequenceState:
    """The segmentations of a sequence, and the table of their volumes, as they are now: for
    Restore, as `keep.NodeState` is.
    """

    worth_keeping = True

    def __init__(self, sequence, taken: bool = False):
        """taken: the table is about to be taken out of the scene by us, and comes back with this
        state.
        """
        self.sequence, self.items, self.table, self.taken = sequence, {}, table_of(sequence), taken
        self.volumes = self.table.GetTable() if self.table else None
        for n in range(sequence.GetNumberOfDataNodes()):
            self.items[sequence.GetNthIndexValue(n)] = _copy(sequence.GetNthDataNode(n))

    def now(self, node) -> SequenceState:
        return SequenceState(self.sequence, taken=self.table is None)

    def put_back(self, node) -> None:
        """node: the proxy that shows the sequence. A table that the user has deleted meanwhile
        stays away.
        """
        for value, item in self.items.items():
            self.sequence.SetDataNodeAtValue(item, value)
        if self.table is None:
            remove_volumes(
                self.sequence
            )  # it tells of other segmentations than those that are back
        elif self.taken or self.table.GetScene() is not None:
            show_volumes(self.sequence, self.volumes, node, self.table)


def source_of(node, wholeSequence: bool = True) -> Source | None:
    """The sequence that a node is or shows an image of; None for a scan by itself. `UserError`
    for one without scans.
    """
    if node is None or node.GetScene() is None:
        return None
    if node.IsA("vtkMRMLSequenceNode"):
        if not node.GetNumberOfDataNodes() or not node.GetNthDataNode(0).IsA(
            "vtkMRMLScalarVolumeNode"
        ):
            raise UserError(
                f'The sequence "{node.GetName()}" holds no scans; choose a sequence of volumes.'
            )
        return next((s for s in _shown(node.GetScene()) if s.sequence is node), Source(node))
    if not wholeSequence:
        return None
    return next((s for s in _shown(node.GetScene()) if s.proxy is node), None)


def _shown(scene):
    """Every sequence of every browser."""
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceBrowserNode")):
        browser = scene.GetNthNodeByClass(n, "vtkMRMLSequenceBrowserNode")
        for m in range(scene.GetNumberOfNodesByClass("vtkMRMLSequenceNode")):
            sequence = scene.GetNthNodeByClass(m, "vtkMRMLSequenceNode")
            if browser.IsSynchronizedSequenceNode(sequence, True):  # the master too
                yield Source(sequence, browser, browser.GetProxyNode(sequence))


def steps(segmenting: Segmenting, job: Job, source: Source, options: Options) -> Steps:
    """Steps: segment every image of a sequence; the scene changes when all are done."""
    sequence, scene = source.sequence, source.sequence.GetScene()
    target = _target(source, options.segmentationNode)
    values = [sequence.GetNthIndexValue(n) for n in range(sequence.GetNumberOfDataNodes())]
    drawn, maps, rows, notes = _like(sequence), _like(sequence), {}, []
    still, began = lambda: _require(sequence), time.monotonic()
    for n, value in enumerate(values):

        def report(stage, fraction, secondsLeft=None, n=n):
            done = (n + fraction) / len(values)
            left = (
                (time.monotonic() - began) * (1 - done) / done if n else None
            )  # the first image loads the model
            segmenting.runner.report(job, f"{n + 1} of {len(values)}: {stage}", done, left)

        scan = sequence.GetDataNodeAtValue(value, True)
        if scan is None:
            raise Removed(
                f'An image of the sequence "{sequence.GetName()}" was removed while it was being'
                " segmented; nothing was changed."
            )
        volume = read_volume(scan, source.proxy, f"{sequence.GetName()} {value}")
        found = yield from segmenting.found_in(volume, options, job, still, report)
        earlier = target.sequence.GetDataNodeAtValue(value, True) if target else None
        drawn.SetDataNodeAtValue(_item(found.drawing, scan, earlier, options.side), value)
        if found.uncertainty is not None:
            maps.SetDataNodeAtValue(map_node(found.uncertainty, scan), value)
        rows[value] = found.drawing.rows
        notes += [note for note in found.drawing.notes if note not in notes]
    if not any(rows.values()):
        raise UserError(
            f'Nothing was found in any image of "{sequence.GetName()}"; check that it is the right'
            " sequence."
        )
    yield from calm(scene, still)
    before, volumes = SequenceState(target.sequence) if target else None, make_volumes(drawn, rows)
    job.segmentationNode, job.uncertaintyNode, job.tableNode = _put_into_scene(
        source, target, before, drawn, maps, volumes
    )
    job.tableNode.SetDescription(
        f"{options.model}: volume of each structure in each image; 0 where it was not found."
    )
    segmenting.keep.remember(job.segmentationNode, before)
    segmenting.onResult(found.segmentation)
    job.itemRows, job.rows, job.notes = (
        rows,
        _means(rows),
        (*notes, *_said(rows, sequence, job.tableNode)),
    )


def _require(sequence) -> None:
    if sequence.GetScene() is None:
        raise Removed(
            "The sequence was removed from the scene while it was being segmented; nothing was"
            " changed."
        )


def _target(source: Source, node) -> Source | None:
    """The sequence of segmentations that is to be updated, by the proxy that shows it; None for
    a new one.
    """
    if node is None or node.GetScene() is None:
        return None
    for shown in _shown(node.GetScene()):
        if shown.proxy is node and shown.browser is source.browser:
            return shown
    raise UserError(
        f'"{node.GetName()}" is one segmentation and "{source.sequence.GetName()}" a sequence of'
        " scans; choose a new segmentation as the output."
    )


def _like(sequence):
    """An empty sequence, outside of any scene, with the index of another."""
    made = slicer.vtkMRMLSequenceNode()
    made.SetIndexName(sequence.GetIndexName())
    made.SetIndexUnit(sequence.GetIndexUnit())
    made.SetIndexType(sequence.GetIndexType())
    return made


def _copy(node):
    made = node.CreateNodeInstance()
    made.UnRegister(None)
    made.SetName(node.GetName())
    made.CopyContent(node, True)
    return made


def _item(drawing: Drawing, scan, before, side: str | None):
    """One image's segmentation, outside of any scene. before: what an earlier run and the user
    had drawn on it, or None.
    """
    node = _copy(before) if before is not None else slicer.vtkMRMLSegmentationNode()
    segments, matrix = node.GetSegmentation(), ijk_to_ras(scan)
    old = old_segments(segments, drawing, side)
    if segments.GetNumberOfSegments() == len(old):
        segments.SetSourceRepresentationName(BINARY_LABELMAP)
    elif segments.GetSourceRepresentationName() != BINARY_LABELMAP:
        raise UserError(
            "The output's segments are surfaces, which a label map cannot be added to; choose a new"
            " segmentation."
        )
    set_segments(segments, drawing, matrix, old)
    extent = [edge for size in drawing.shape[::-1] for edge in (0, size - 1)]
    convert = slicer.vtkSegmentationConverter
    segments.SetConversionParameter(
        convert.GetReferenceImageGeometryParameterName(),
        convert.SerializeImageGeometry(to_vtk(matrix), extent),
    )
    return node


def _put_into_scene(
    source: Source, target: Source | None, before: SequenceState | None, drawn, maps, volumes
):
    """Add the results beside the scans, or into the sequence ``target``, which was ``before``;
    returns the proxies of segmentations and maps, and the table of volumes. If anything fails, the
    scene is left as it was.
    """
    scene, name = source.sequence.GetScene(), source.sequence.GetName()
    with ExitStack() as undo:
        undo.callback(_remove_others, scene, _node_ids(scene), source.browser)
        browser = source.browser or _new_browser(source.sequence)
        volumeProxy = _proxy(browser, source.sequence)
        if target:
            undo.callback(before.put_back, target.proxy)
            for n in range(drawn.GetNumberOfDataNodes()):
                target.sequence.SetDataNodeAtValue(
                    drawn.GetNthDataNode(n), drawn.GetNthIndexValue(n)
                )
            proxy = target.proxy
        else:
            proxy = _show(
                drawn, scene.GenerateUniqueName(f"{name} segmentation"), browser, volumeProxy
            )
            browser.SetSaveChanges(
                browser.GetSequenceNode(proxy), True
            )  # what is drawn in the Segment Editor stays
            proxy.SetReferenceImageGeometryParameterFromVolumeNode(volumeProxy)
        mapProxy = None
        if maps.GetNumberOfDataNodes():
            mapProxy = _show(
                maps, scene.GenerateUniqueName(f"{name} uncertainty"), browser, volumeProxy
            )
        name_map(proxy, mapProxy)
        table = show_volumes(browser.GetSequenceNode(proxy), volumes, volumeProxy)
        undo.pop_all()
    return proxy, mapProxy, table


def _node_ids(scene) -> set[str]:
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def _remove_others(scene, ids: set[str], browser) -> None:
    """Take all nodes but these out of the scene: sequences, browser, proxies and what Slicer
    made for them.
    """
    new = [scene.GetNodeByID(name) for name in _node_ids(scene) - ids]
    if browser is not None:  # first of all, as it makes a proxy anew that is missing
        for node in new:
            if node.IsA("vtkMRMLSequenceNode"):
                browser.RemoveSynchronizedSequenceNode(node.GetID())
    for node in sorted(new, key=lambda node: not node.IsA("vtkMRMLSequenceBrowserNode")):
        if node.GetScene() is not None:  # another one may have taken it along
            restore_place(node, None)
            scene.RemoveNode(node)


def _new_browser(sequence):
    scene = sequence.GetScene()
    browser = scene.AddNewNodeByClass(
        "vtkMRMLSequenceBrowserNode", scene.GenerateUniqueName(f"{sequence.GetName()} browser")
    )
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return browser


def _show(sequence, name: str, browser, volumeProxy):
    """Add a finished sequence to the scene and to a browser; returns its proxy, which lies where
    the scan's does.
    """
    scene = browser.GetScene()
    sequence.SetName(name)
    scene.AddNode(sequence)
    browser.AddSynchronizedSequenceNode(sequence)
    proxy = _proxy(browser, sequence)
    proxy.SetAndObserveTransformNodeID(volumeProxy.GetTransformNodeID())
    place_beside(proxy, volumeProxy)
    return proxy


def _proxy(browser, sequence):
    if browser.GetProxyNode(sequence) is None:
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser.GetProxyNode(sequence)


def _means(rows: dict[str, tuple]) -> tuple:
    """One row a structure: means over the images it was found in."""
    names = dict.fromkeys(name for each in rows.values() for name, *_ in each)
    found = {
        name: [row for each in rows.values() for row in each if row[0] == name] for name in names
    }
    return tuple(
        (name, float(np.mean([ml for _, ml, _ in each])), _mean([sure for *_, sure in each]))
        for name, each in found.items()
    )


def _mean(values: list) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _said(rows: dict[str, tuple], sequence, table) -> list[str]:
    said = [
        f"Volumes are means over {len(rows)} images; those of each are in the table"
        f' "{table.GetName()}".'
    ]
    empty = [value for value, each in rows.items() if not each]
    if empty:
        unit = " ".join(filter(None, (sequence.GetIndexName(), sequence.GetIndexUnit())))
        said.append(
            f"Nothing was found in {len(empty)} of them ({unit}"
            f" {', '.join(empty[:5])}{' ...' if len(empty) > 5 else ''})."
        )
    return said
