"""What the panel shows of the images that a model takes beside the input."""

from __future__ import annotations

from .panel_state import MOST_FURTHER, Panel
from .translation import _, isolated

PLACES = ("second", "third", "fourth")  # begin the names of the selectors in the .ui


def why_not_these_images(panel: Panel) -> str:
    """What is wrong with the images of a model that takes several; "" if nothing is."""
    needed = panel.further_images
    if not needed:
        return ""
    if panel.is_batch:
        return _("The model takes several images of one patient; untick all scans.")
    if len(needed) > MOST_FURTHER:
        return _("The model takes more images than can be chosen here; use the console.")
    seen = [panel.input]
    for image, name in zip(needed, panel.further, strict=False):
        if name is None:
            return _("Choose the image {image}.").format(image=image)
        if name in seen:
            return _("{name} is chosen twice; choose another one as {image}.").format(
                name=isolated(name), image=image
            )
        seen.append(name)
    return ""


def further_images_widgets(panel: Panel) -> dict[str, dict]:
    """A selector for each image: name in the .ui -> Qt properties."""
    names = (*panel.further_images, *[""] * MOST_FURTHER)[:MOST_FURTHER]
    widgets = {}
    for place, image in zip(PLACES, names, strict=True):
        title = image.partition(" (")[0]
        widgets[f"{place}ImageLabel"] = {
            "visible": bool(image),
            "text": f"{title}:" if title else "",
            "toolTip": image,
        }
        widgets[f"{place}ImageSelector"] = {"visible": bool(image)}
    return widgets
