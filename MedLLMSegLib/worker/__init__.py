"""A process that stays warm: it segments and trains for a program that must not freeze, and can be
stopped at any time.

The program (Slicer's panel, a test) holds a `client.WorkerClient`, which starts `python -m
MedLLMSegLib.worker`, hands it requests and is polled for events. `protocol` says what both sides
say to each other. Nothing here needs Qt, and only the worker's own process imports torch.
"""
