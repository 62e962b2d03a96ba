"""The results of a sequence into the scene, beside the scans and in the same browser.

They are gathered in sequences outside of the scene, which enter it when all are complete.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import slicer

from .heart_nodes import HeartDrawing, show_heart
from .overlay import name_map
from .sequence_nodes import SequenceSource, SequenceState, empty_like
from .volume_nodes import place_next_to, restore_place
from .volumes_table import VOLUMES


class SequenceResults:
    """Segmentations and maps of uncertainty, by the index of the scans; outside of any scene."""

    def __init__(self, scans):
        self.segmentations, self.maps = empty_like(scans), empty_like(scans)


@dataclass(frozen=True, eq=False)
class SequenceNodes:
    """What the scene holds of a result.

    segmentation, uncertainty_map (or None): the proxies in the browser. volumes_table: the
    vtkMRMLTableNode of volumes in each image. heart_table: that of the heart's function, or None.
    """

    segmentation: Any
    uncertainty_map: Any
    volumes_table: Any
    heart_table: Any


def add_to_scene(
    source: SequenceSource,
    target: SequenceSource | None,
    before: SequenceState | None,
    results: SequenceResults,
    volumes,
    heart: HeartDrawing | None = None,
) -> SequenceNodes:
    """Add the results beside the scans, or write them into the sequence ``target``.

    before: the state of ``target``; None if there is no target. volumes: a vtkTable. heart: None
    if the results are not a heart's.
    If anything fails, the scene is left as it was.
    """
    scene, name = source.sequence.GetScene(), source.sequence.GetName()
    with ExitStack() as undo:
        undo.callback(_remove_new_nodes, scene, _node_ids(scene), source.browser)
        browser = source.browser or _new_browser(source.sequence)
        scan_proxy = _proxy(browser, source.sequence)
        if target is not None and before is not None:
            undo.callback(before.put_back, target.proxy)
            _replace_items(target.sequence, results.segmentations)
            proxy = target.proxy
        else:
            title = scene.GenerateUniqueName(f"{name} segmentation")
            proxy = _add_sequence(results.segmentations, title, browser, scan_proxy)
            # what is drawn in the Segment Editor stays
            browser.SetSaveChanges(browser.GetSequenceNode(proxy), True)
            proxy.SetReferenceImageGeometryParameterFromVolumeNode(scan_proxy)
        map_proxy = None
        if results.maps.GetNumberOfDataNodes():
            title = scene.GenerateUniqueName(f"{name} uncertainty")
            map_proxy = _add_sequence(results.maps, title, browser, scan_proxy)
        name_map(proxy, map_proxy)
        segmentations = browser.GetSequenceNode(proxy)
        table = VOLUMES.show(segmentations, volumes, scan_proxy)
        heart_table = show_heart(segmentations, heart, scan_proxy)
        undo.pop_all()
    return SequenceNodes(proxy, map_proxy, table, heart_table)


def _replace_items(target, items) -> None:
    for n in range(items.GetNumberOfDataNodes()):
        target.SetDataNodeAtValue(items.GetNthDataNode(n), items.GetNthIndexValue(n))


def _node_ids(scene) -> set[str]:
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def _remove_new_nodes(scene, known_ids: set[str], browser) -> None:
    """Remove all nodes but the known ones: sequences, browser, proxies, and nodes that Slicer
    made for them.
    """
    new = [scene.GetNodeByID(name) for name in _node_ids(scene) - known_ids]
    if browser is not None:  # first of all, as a browser makes missing proxies again
        for node in new:
            if node.IsA("vtkMRMLSequenceNode"):
                browser.RemoveSynchronizedSequenceNode(node.GetID())
    for node in sorted(new, key=lambda node: not node.IsA("vtkMRMLSequenceBrowserNode")):
        if node.GetScene() is not None:  # it may have gone together with another one
            restore_place(node, None)
            scene.RemoveNode(node)


def _new_browser(sequence):
    scene = sequence.GetScene()
    browser = scene.AddNewNodeByClass(
        "vtkMRMLSequenceBrowserNode", scene.GenerateUniqueName(f"{sequence.GetName()} browser")
    )
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    return browser


def _add_sequence(sequence, name: str, browser, scan_proxy):
    """Add a finished sequence to the scene and to a browser; returns its proxy.

    The proxy gets the transform of the scan's proxy and lies in its study.
    """
    scene = browser.GetScene()
    sequence.SetName(name)
    scene.AddNode(sequence)
    browser.AddSynchronizedSequenceNode(sequence)
    proxy = _proxy(browser, sequence)
    proxy.SetAndObserveTransformNodeID(scan_proxy.GetTransformNodeID())
    place_next_to(proxy, scan_proxy)
    return proxy


def _proxy(browser, sequence):
    if browser.GetProxyNode(sequence) is None:
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser.GetProxyNode(sequence)
