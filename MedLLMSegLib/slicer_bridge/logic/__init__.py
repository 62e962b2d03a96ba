"""Jobs of a Slicer session: segment, diagnose, train; the API behind MedLLMSegLogic."""
