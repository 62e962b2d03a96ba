"""File names in BIDS: entities such as sub-01, joined by _, then a suffix such as T1w.

After the chapter "Common principles" of the standard (1.10), and its appendix "Entities" for the
order of a derivative's own entities: seg, res, desc, behind those of the source.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

EXTENSIONS = (".nii.gz", ".nii")  # of images
_ENTITY = re.compile(r"([A-Za-z]+)-([A-Za-z0-9+]+)")


@dataclass(frozen=True)
class BidsName:
    """The name of a file. entities: (key, label), in the file's order. suffix: such as "T1w"."""

    entities: tuple[tuple[str, str], ...]
    suffix: str

    def label(self, key: str) -> str | None:
        """The label of an entity; None where the name has none."""
        return dict(self.entities).get(key)

    @property
    def stem(self) -> str:
        """The name without its extension."""
        return "_".join([*(f"{key}-{label}" for key, label in self.entities), self.suffix])

    def derived(self, suffix: str, **own: str) -> BidsName:
        """The name of what was made from the file. own: further entities, in the standard's order.

        The source's suffix, which tells a T1w from a FLAIR of the same session, goes into desc.
        """
        entities = (*self.entities, *own.items(), ("desc", alphanumeric(self.suffix)))
        return BidsName(entities, suffix)


def alphanumeric(text: str) -> str:
    """A text as a label, which has letters and digits alone."""
    return re.sub(r"[^A-Za-z0-9]", "", text)


def read_name(path: Path) -> BidsName | None:
    """The parts of an image's name; None for a name that is not one of the standard's."""
    extension = next((e for e in EXTENSIONS if path.name.endswith(e)), None)
    if extension is None:
        return None
    *parts, suffix = path.name[: -len(extension)].split("_")
    entities = [_ENTITY.fullmatch(part) for part in parts]
    if not entities or not suffix.isalnum():
        return None
    pairs = tuple((entity[1], entity[2]) for entity in entities if entity is not None)
    keys = [key for key, _ in pairs]
    if len(pairs) < len(parts) or keys[0] != "sub" or len(set(keys)) < len(keys):
        return None
    return BidsName(pairs, suffix)
