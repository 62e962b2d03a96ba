"""MedLLMSeg: vision transformers with a frozen language-model block, for 3D Slicer and beyond.

    from MedLLMSegLib import load_volume, save_segmentation, segment
    result = segment(load_volume("head.nii.gz"))
    save_segmentation(result, "hippocampi.seg.nrrd")

    from MedLLMSegLib import diagnose
    print(diagnose("chest.dcm").probabilities)

Importing this package is cheap: torch is loaded when a name that needs it is first used.
"""
import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "segment": "pipeline", "load_model": "pipeline", "segment_frames": "frames",
    "diagnose": "diagnosis.predict", "load_classifier": "diagnosis.model", "Diagnosis": "diagnosis.answer",
    "load_radiograph": "radiograph", "Radiograph": "radiograph",
    "load_volume": "files", "save_segmentation": "files", "save_volume": "files",
    "list_models": "catalogue", "accept_licence": "catalogue",
    "Volume": "volume", "Segmentation": "structures", "Structure": "structures",
    "UserError": "errors", "Cancelled": "errors", "write_report": "report",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})
