"""The ground floor: errors, progress, places, memory, images in space.

It needs only the standard library, numpy and scipy.
"""
