"""NIfTI-1 files: header, voxels, and where 3D Slicer and other programs place them."""
