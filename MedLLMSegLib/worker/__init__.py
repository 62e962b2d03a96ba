"""A process that stays warm: it segments, diagnoses and trains for a program that must not freeze,
and can be stopped at any time.

The program (Slicer's panel, a test) holds a `client.WorkerClient`, which starts `python -m
MedLLMSegLib.worker`, sends it requests and is polled for events. `protocol` says what these are.
Nothing here needs Qt, and only the worker's own process imports torch.
"""
