"""The sentences of docs/nodules.md that depend on no figure."""

INTRODUCTION = (
    "# Lung nodules, found and outlined in chest CT\n\n"
    "A study: a small network learns nodules that were **inserted** into chest CTs, with the"
    " shapes of LIDC's nodules and the density, texture and blur measured in these scans. It is"
    " tested on inserted nodules of other patients in scans that it never saw, and then shown"
    " the only two real nodules that are here. Beside it stands a trivial detector. **No model"
    " of this study ships, and no figure of inserted nodules is one of real ones.** Research"
    " use only; not a medical device."
)

FALSE_POSITIVES = (
    "False positives are counted in the four scans as they are, since their copies share one"
    " background: 1/4 a scan is a single false place, and below 1 a scan the curve hangs on one to"
    ' three of them. Thresholds are for all scans together; intervals take them as given. "False a'
    ' copy": false positives at the same threshold in a copy with inserted nodules, where parts of'
    " one that lie further than 3 mm from it count as well."
)

METHOD = (
    "- **Scans**: four chest CTs, CC BY, made smaller to 2 mm in the slice: LIDC-IDRI-0001 and"
    " -0314 (TCIA, CC BY 3.0), Lung_Dx-A0001 and -A0002 (TCIA, CC BY 4.0). Slices are 2 to 8 mm"
    " apart; the networks see all at 2 mm.\n"
    "- **Lungs**: air below -400 HU that does not reach the scan's sides, in parts of 0.3"
    " litres or more, each slice closed by a disc of 12 mm. What holds less than 0.8 litres of"
    " it is no chest CT, and is refused.\n"
    "- **Shapes**: `lidc_nodules`, where half of a nodule's readers or more outlined a voxel;"
    " those of 4 to 30 mm, solid (mean rating of texture 4 of 5 or more), of two readers or"
    " more. Patients are split by the last digit of their numbers: 0 to 5 train, 6 val, 7 to 9"
    " test. LIDC-IDRI-0001 and -0314 are in no part.\n"
    "- **Density and texture**: of the real nodules of LIDC-IDRI-0001 and -0314, in the scans"
    " at 2 mm, within the readers' agreed outline without its outermost 2 mm: the median, the"
    " SD from the median absolute deviation, and how alike neighbours are. A fold learns with"
    " one of them, and is tested with the other. An inserted core is drawn around the median by"
    " that SD.\n"
    "- **Blur**: the SD of the step between air and skin at the front of the chest, in each"
    " scan. Along k a voxel is the mean over its slice.\n"
    "- **Place**: anywhere in the lung where at least 90 % of the shape is lung, at most 15 %"
    " of it is brighter than -400 HU, and the mean before is between -950 and -600 HU (no"
    " airway). What is denser than the nodule, and what is no lung, keeps its values: walls and"
    " vessels go through it.\n"
    "- **Real nodules and tumours** are left out, with 8 mm around them: nothing is learnt,"
    " inserted or counted there.\n"
    "- **The network** sees windows of 32 voxels of 2 mm in two HU windows,"
    " -1000 to 200 and -160 to 240. They overlapped by a quarter when the test was first looked at,"
    " which left straight edges in outlines, and since then by a half. Candidates"
    " are connected parts of at least 0.1; the score is the highest mean of"
    " 3 x 3 x 3 voxels; the outline is what reaches 0.5. A candidate hits a"
    " nodule where its centre lies within 3 mm of it.\n"
    "- **The trivial detector**: maxima of the Laplacian of a Gaussian of six widths in the"
    " lungs, and around each what is denser than -400 HU within 1.5 radii; the 200 strongest of"
    " a scan."
)

LIMITS = (
    "## What these figures do not say\n\n"
    "- Inserted nodules are solid, lie in the lung rather than at its wall, and have one of two"
    " measured densities. Real ones are ground glass, calcified, at the pleura, or drawn out"
    " along vessels.\n"
    "- The sizes are in equal parts, which is not how often they occur.\n"
    "- A false positive may be a real nodule that nobody outlined: LIDC's readers outlined"
    " those of 3 mm or more, and of the Lung_Dx scans only the tumour is known.\n"
    "- In slices of 5 and 8 mm a nodule of 5 mm is a voxel or two.\n"
    "- Four scans and one training of each fold, of a few minutes: not what can be reached.\n"
    "- The trivial outline and the insertion are made of the same step between lung and nodule,"
    " so that a threshold outlines inserted nodules well by their making."
)

RECIPE = (
    "## The same from LIDC's own images\n\n"
    "With LIDC-IDRI as TCIA has it (DICOM series and the readers' XML files, wherever they lie, all"
    " slices of a series in one folder), this makes a folder that `medllmseg train` reads: a voxel"
    " is nodule where two readers or more outlined it, and patients are split 7 : 1 : 2. XML with a"
    " document type is refused. A series that cannot be read, and a second XML file of a series"
    " that says something else, are named at the end and passed over. The reader is tested on a"
    " made-up series; LIDC's own files were not here, so the commands were not run on them.\n\n"
    "    python -m MedLLMSegLib.data.lidc --data LIDC-IDRI --output runs/lidc --around 32\n"
    "    medllmseg train --data runs/lidc --output runs/lidc-model\n\n"
    "nnU-Net's network as baseline, DynUNet beside our U-Nets, with the same steps and samples:\n\n"
    "    python -m MedLLMSegLib.studies.unets --data runs/lidc --output runs/lidc-unets --docs"
    " runs/lidc-docs --spacing 2 1 1 --window 32 64 64 --only 'dynunet*,gates*'\n\n"
    "Cut around the nodules these say how well they are outlined, not how many are found;"
    " without `--around` whole scans are written."
)

EARLIER = (
    "`--weights` is the `--output` of the same command without it: its networks, trained with the"
    " settings above, were tested again, as only the test had changed."
)
