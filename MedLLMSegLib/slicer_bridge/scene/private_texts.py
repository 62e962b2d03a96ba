"""Texts of a scene that may tell who a patient is: names of nodes, of files, and DICOM's values."""

from __future__ import annotations

from pathlib import Path

import vtk

# The nodes that hold a patient's data, or that a user names; Slicer's own colours and views do not.
NAMED_BY_USERS = ("vtkMRMLStorableNode", "vtkMRMLSequenceBrowserNode")
NOT_PATIENTS = ("vtkMRMLColorNode", "vtkMRMLSubjectHierarchyNode")


def private_texts(scene) -> set[str]:
    """Names of nodes and files, the values of DICOM tags, and the name of the user."""
    found = {Path.home().name, *_hierarchy_texts(scene)}
    for n in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(n)
        if any(map(node.IsA, NAMED_BY_USERS)) and not any(map(node.IsA, NOT_PATIENTS)):
            found.update({node.GetName() or "", *_file_names(node)})
    return {text for text in found if text}


def _file_names(node) -> set[str]:
    storage = node.GetStorageNode() if hasattr(node, "GetStorageNode") else None
    if storage is None:
        return set()
    paths = [
        storage.GetFileName(),
        *(storage.GetNthFileName(n) for n in range(storage.GetNumberOfFileNames())),
    ]
    return {text for path in paths if path for text in (path, Path(path).name, Path(path).stem)}


def _hierarchy_texts(scene) -> set[str]:
    """Names, UIDs and DICOM values of patients, studies and series."""
    hierarchy = scene.GetSubjectHierarchyNode()
    if hierarchy is None:
        return set()
    items, found = vtk.vtkIdList(), set()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
    for n in range(items.GetNumberOfIds()):
        item = items.GetId(n)
        found.add(hierarchy.GetItemName(item))
        found.add(hierarchy.GetItemUID(item, "DICOM"))
        found.update(
            hierarchy.GetItemAttribute(item, name)
            for name in hierarchy.GetItemAttributeNames(item)
            if name.startswith("DICOM.")
        )
    return found
