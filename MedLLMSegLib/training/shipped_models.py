"""What is known of the models we ship, besides what their trainings and measurements say: whose
data, which licence, limits.

`medllmseg bundle RUN --as ID` puts these facts into a bundle. Users' own models say of themselves
what their users said.
"""

from __future__ import annotations

from MedLLMSegLib.anatomy.brain import brain_structures
from MedLLMSegLib.anatomy.structures import cardiac_structures
from MedLLMSegLib.core.types import Json

HIPPOCAMPUS_T1: Json = {
    "id": "hippocampus-t1",
    # Crops at 1 mm, a quarter of them seen as coarse as 1 / 0.4 mm (`samples.augmentation`).
    "trained_range": {"pixel_mm": [0.0, 2.5], "slice_mm": [0.0, 2.5]},
    "title": "Hippocampus, anterior and posterior, in T1 MRI",
    "modality": "MR T1",
    "anatomy": "hippocampus",
    "labels": None,
    "structures": ["anterior hippocampus", "posterior hippocampus"],
    "localizer": "brain-t1-localizer",
    "version": "0.3.0",
    "changelog": {
        "0.3.0": "trained anew with Muon in place of AdamW",
        "0.2.0": "trained anew, calibrated, and measured with surface distances",
        "0.1.0": "first version",
    },
    "licence": "CC-BY-SA-4.0",
    "accept_licence": False,
    "licence_note": "share-alike: what you train from it carries the same licence",
    "authors": "The MedLLMSeg authors",
    "copyright": "The MedLLMSeg authors, under CC BY-SA 4.0",
    "data": (
        "Medical Segmentation Decathlon Task04 Hippocampus (Vanderbilt University Medical Center),"
        " CC BY-SA 4.0"
    ),
    "group": "head",
    "case": "crop",
    "data_note": "The two crops of one head lie in the same split.",
    "intended_use": (
        "Research use only; not a medical device. It outlines both hippocampi in T1-weighted MRI of"
        " adult heads, or the one in a crop around it. MONAI's runner takes crops."
    ),
    "limits": (
        "It was trained on T1 crops of adults at 1 mm from one hospital. Other contrasts, children,"
        " lesions, resections and severe atrophy were not tested. In whole heads the outline"
        " depends on the localizer. Look at every result."
    ),
    "references": [
        (
            "Antonelli et al. The Medical Segmentation Decathlon. Nature Communications 13, 4128,"
            " 2022."
        ),
        (
            "Simpson et al. A large annotated medical image dataset for the development and"
            " evaluation of segmentation algorithms. arXiv 1902.09063."
        ),
    ],
}

CARDIAC_CINE_MR: Json = {
    "id": "cardiac-cine-mr",
    # ACDC's files, as we have them, state no spacing: pixels and slices are those that the model is
    # meant for. The sides are those of the files.
    "trained_range": {"pixel_mm": [0.7, 2.2], "slice_mm": [5.0, 12.0], "view_mm": [250.0, 720.0]},
    "title": "Heart, both ventricles, in cine MRI",
    "modality": "MR cine",
    "anatomy": None,
    "labels": [s.to_dict() for s in cardiac_structures()],
    "structures": ["right ventricle", "myocardium", "left ventricle"],
    "version": "0.2.1",
    "changelog": {
        "0.2.1": (
            "of the heart as a whole the largest connected part is kept, chosen on val; the same"
            " weights"
        ),
        "0.2.0": "trained anew with Muon in place of AdamW",
        "0.1.0": "first version",
    },
    "licence": "CC-BY-NC-SA-4.0",
    "accept_licence": True,
    "licence_note": (
        "non-commercial and share-alike: neither it nor what you train from it may be used"
        " commercially"
    ),
    "authors": "The MedLLMSeg authors",
    "copyright": "The MedLLMSeg authors, under CC BY-NC-SA 4.0",
    "data": (
        "ACDC, Automated Cardiac Diagnosis Challenge (University Hospital of Dijon), CC"
        " BY-NC-SA 4.0"
    ),
    "group": "patient",
    "case": "scan",
    "data_note": (
        "The two frames of one patient (end-diastole and end-systole) lie in the same split. The"
        " copy of the data that it was trained on stores no voxel spacing: 1.5 mm in the plane was"
        " assumed, and the training drew other scales. Every figure in mm or mL rests on that"
        " assumption. The weights were trained in three parts while the optimiser was being"
        " written; the command in docs/train.md makes a model like it, not the same numbers."
    ),
    "folds_command": (
        "medllmseg train --data runs/acdc --output runs/heart-folds --folds 5 --preset"
        " medvisionllama-fine --spacing 10 2 2 --window 10 80 80 --steps 2400 --validations 3"
        " --patience 0"
    ),
    "folds_note": (
        "The folds were measured before version 0.2.1: in them the largest part of each structure"
        " was kept by itself, where that was better on the fold's own val cases."
    ),
    "intended_use": (
        "Research use only, and not for commercial purposes; not a medical device. It outlines both"
        " ventricles and the left one's wall in short-axis cine MRI at end-diastole and"
        " end-systole, one frame at a time."
    ),
    "limits": (
        "It was trained on short-axis stacks from one hospital, at end-diastole and end-systole."
        " Other frames, other views, late enhancement, other vendors and congenital disease were"
        " not tested. The right ventricle is the weakest (see the table above); the most basal and"
        " most apical slices are the least sure. Look at every result."
    ),
    "references": [
        "Bernard et al. Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures"
        " Segmentation and Diagnosis: Is the Problem Solved? IEEE Transactions on Medical Imaging"
        " 37(11), 2514-2525, 2018."
    ],
}

BRAIN_MR: Json = {
    "id": "brain-mr",
    # As `training.synthesis` draws scanners: voxels up to 3 mm, slices up to 8 mm. Of the field of
    # view nothing is said: the closer look cuts away what lies around the brain.
    "trained_range": {"pixel_mm": [0.0, 3.0], "slice_mm": [0.0, 8.0]},
    "title": "Brain, any MR contrast",
    "modality": "MR",
    "anatomy": None,
    "labels": [s.to_dict() for s in brain_structures()],
    "structures": [s.name for s in brain_structures()],
    "version": "0.1.0",
    "changelog": {"0.1.0": "first version"},
    "licence": "Apache-2.0",
    "accept_licence": False,
    "authors": "The MedLLMSeg authors",
    "copyright": "The MedLLMSeg authors, under Apache-2.0",
    "data": (
        "images synthesised from label maps of whole heads of SynthSeg (Apache-2.0); no real scan"
        " was used"
    ),
    "group": "person",
    "case": "scan",
    "intended_use": (
        "Research use only; not a medical device. It outlines the structures of the adult brain in"
        " MR of any contrast, resolution and orientation, with the skull or without."
    ),
    "limits": (
        "Children, tumours, resections and other large lesions were not tested. What the field of"
        " view cuts off is not outlined. Slices thicker than 8 mm were not trained on. Look at"
        " every result."
    ),
    "references": [
        "Billot et al. SynthSeg: Segmentation of brain MRI scans of any contrast and resolution"
        " without retraining. Medical Image Analysis 86, 102789, 2023."
    ],
}

BRAIN_T1_LOCALIZER: Json = {
    "id": "brain-t1-localizer",
    "authors": "The MedLLMSeg authors",
    "copyright": "The MedLLMSeg authors, under Apache-2.0",
    "intended_use": (
        "Research use only; not a medical device. It finds both hippocampi in T1-weighted MRI of"
        " whole heads for the model hippocampus-t1; `medllmseg segment` runs it first."
    ),
}

SHIPPED = {
    facts["id"]: facts for facts in (HIPPOCAMPUS_T1, CARDIAC_CINE_MR, BRAIN_MR, BRAIN_T1_LOCALIZER)
}
