"""A batch over a BIDS dataset, whose results are a dataset of derivatives."""
