"""DICOM: series, single images and look-up tables."""
