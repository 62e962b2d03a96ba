"""The parts that segmentation networks are made of."""
