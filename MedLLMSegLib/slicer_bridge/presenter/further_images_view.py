"""What the panel shows of the images of a model that takes several: each as a volume of its own,
beside the input, or all in the input.
"""

from __future__ import annotations

from .panel_state import MOST_FURTHER, Panel
from .translation import _, isolated

PLACES = ("second", "third", "fourth")  # begin the names of the selectors in the .ui


def why_not_these_images(panel: Panel) -> str:
    """What is wrong with the images of a model that takes several; "" if nothing is."""
    if not panel.further_images:
        return ""
    if panel.is_batch:
        return _("The model takes several images of one patient; untick all scans.")
    if panel.has_all_images:
        return ""
    return _why_not_in_one(panel) or _why_not_each(panel)


def _why_not_in_one(panel: Panel) -> str:
    needed = len(panel.further_images)
    if panel.images_in_input > 1:
        return _(
            "{scan} holds {found} images, and the model takes {needed} of one patient; load a file"
            " of as many, or each image as a volume of its own."
        ).format(scan=isolated(panel.input or ""), found=panel.images_in_input, needed=needed + 1)
    if needed > MOST_FURTHER:
        return _(
            "The model takes more images than can be chosen here; load all in one file (4D), or use"
            " the console."
        )
    return ""


def _why_not_each(panel: Panel) -> str:
    for image, name in zip(panel.further_images, panel.further, strict=False):
        if name is None:
            return _("Choose the image {image}.").format(image=image)
    return _why_not_twice(panel)


def _why_not_twice(panel: Panel) -> str:
    names = (panel.input, *panel.further)
    images = panel.image_ids[: len(panel.further_images) + 1]
    for n, image in enumerate(images):
        if image in images[:n]:
            return _("{name} is chosen twice; choose another one as {image}.").format(
                name=isolated(names[n] or ""), image=panel.further_images[n - 1]
            )
    return ""


def further_images_widgets(panel: Panel) -> dict[str, dict]:
    """A selector for each image: name in the .ui -> Qt properties."""
    asked = () if panel.has_all_images else panel.further_images
    names = (*asked, *[""] * MOST_FURTHER)[:MOST_FURTHER]
    text = _order_text(panel) if panel.has_all_images else ""
    widgets: dict[str, dict] = {"imagesLabel": {"text": text, "visible": bool(text)}}
    for place, image in zip(PLACES, names, strict=True):
        title = image.partition(" (")[0]
        widgets[f"{place}ImageLabel"] = {
            "visible": bool(image),
            "text": f"{title}:" if title else "",
            "toolTip": image,
        }
        widgets[f"{place}ImageSelector"] = {"visible": bool(image)}
    return widgets


def _order_text(panel: Panel) -> str:
    """Which of the input's images are taken as what: nothing else tells a wrong order."""
    images = dict(panel.taking)[panel.model]
    numbered = ", ".join(f"{n} {image}" for n, image in enumerate(images, start=1))
    return _("The images in {scan}, by their order: {images}.").format(
        scan=isolated(panel.input or ""), images=numbered
    )
