"""``python -m MedLLMSegLib.worker`` is the worker."""

from .server import serve

serve()
