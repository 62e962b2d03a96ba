"""What the words of a scan's or a model's name say: modality, contrast and part of the body."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Word -> what it stands for. Only words that are never a part of something else.
MODALITIES = {
    "MR": {"mr", "mri", "cmr", "t1", "t1w", "t2", "t2w", "flair", "mprage", "spgr", "cine"},
    "CT": {"ct", "cta", "cect", "ldct"},
    "PT": {"pet"},
    "US": {"us", "ultrasound", "echo"},
    "X-ray": {"xray", "cxr", "radiograph"},
}
CONTRASTS = {
    "T1": {"t1", "t1w", "mprage", "spgr", "bravo", "mp2rage"},
    "T2": {"t2", "t2w"},
    "FLAIR": {"flair"},
    "PD": {"pd", "pdw"},
    "diffusion": {"dwi", "adc", "dti"},
    "cine": {"cine"},
}
REGIONS = {
    "head": {"head", "brain", "cerebral", "cerebrum", "hippocampus", "hippocampi", "mni", "mni152"},
    "heart": {"heart", "cardiac", "myocardium", "cine", "cmr"},
    "chest": {"chest", "thorax", "lung", "lungs"},
    "abdomen": {"abdomen", "liver", "spleen", "kidney", "kidneys", "pancreas"},
    "pelvis": {"pelvis", "prostate", "bladder", "uterus"},
    "spine": {"spine", "lumbar", "cspine", "tspine", "lspine", "vertebra", "vertebrae", "sacrum"},
    "neck": {"neck", "cervical", "thyroid", "larynx"},
    "breast": {"breast", "breasts", "mamma"},
    "shoulder": {"shoulder", "humerus"},
    "hip": {"hip", "hips", "femur"},
    "hand or foot": {"wrist", "hand", "ankle", "foot"},
    "knee": {"knee", "patella", "meniscus"},
}


def words_of(*texts: str) -> frozenset[str]:
    """The words of names, in lower case: "MRHead", "mr_head" and "MR-head 2" all hold mr and
    head.
    """
    found = set()
    for text in texts:
        apart = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", text)
        apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", apart)
        words = re.split(r"[\W_]+", apart.lower())
        found.update(words)
        found.update(word.rstrip("0123456789") for word in words)  # "Brain1"
    return frozenset(found - {""})


def stands_for(words: Iterable[str], table: dict[str, set[str]]) -> frozenset[str]:
    """The entries of a table that any of the words stands for."""
    words = set(words)
    return frozenset(name for name, known in table.items() if words & known)
