"""MedLLMSeg: vision transformers with a frozen language-model block, for 3D Slicer and beyond."""

__version__ = "0.1.0"
