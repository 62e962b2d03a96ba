"""An empty scene between two tests of one process."""

# Of each there is one for a tag, which closing a scene keeps: views, and parameters of a module.
KEPT_BY_CLEAR = (
    "vtkMRMLAbstractViewNode",
    "vtkMRMLSliceCompositeNode",
    "vtkMRMLScriptedModuleNode",
)


def empty_scene(scene):
    """Close a scene, and take away what Slicer's own `Clear` leaves there for the next one."""
    scene.Clear(0)
    for kind in KEPT_BY_CLEAR:
        while (node := scene.GetFirstNodeByClass(kind)) is not None:
            scene.RemoveNode(node)
