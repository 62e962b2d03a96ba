"""Saving a scene as a bundle, which needs what only the desktop has: managers of files."""

import slicer


def add_file_managers(scene, folder):
    """Let a scene be saved to and read from .mrb files. folder: for what they unpack."""
    cache, manager = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(str(folder))
    manager.SetCacheManager(cache)
    scene.SetDataIOManager(manager)


def save_and_reload(scene, folder):
    """Save a scene as a bundle in a folder, empty it, and read it again."""
    add_file_managers(scene, folder)
    path = str(folder / "scene.mrb")
    assert scene.WriteToMRB(path)
    scene.Clear(0)
    assert scene.ReadFromMRB(path, True)
