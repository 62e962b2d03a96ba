"""The ground floor: errors, progress, places, memory, images in space. Numpy and the standard
library only.
"""
