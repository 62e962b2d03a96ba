"""A scan to a segmentation on its own grid."""
