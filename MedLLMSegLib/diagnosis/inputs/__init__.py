"""A user's files (an image, a volume, several, a record) as a batch of one for a classifier."""
