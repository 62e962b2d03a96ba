"""All kinds of files that are tortured, and the traps, by name."""

from __future__ import annotations

from . import dicom_files, models, pictures, scans, traps, worker_lines

KINDS = {
    kind.name: kind
    for module in (scans, pictures, dicom_files, models, worker_lines, traps)
    for kind in module.KINDS
}
