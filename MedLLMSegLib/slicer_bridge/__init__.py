"""What joins the library to 3D Slicer: the only package that touches `slicer` and `vtk`.

Importing it costs nothing: `logic` and `install` import the rest when they are first called.
"""
