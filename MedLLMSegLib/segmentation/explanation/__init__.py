"""Why a structure was outlined where it was: Grad-CAM for segmentation."""
