"""Datasets in the Brain Imaging Data Structure: which files are scans, how results are named."""
