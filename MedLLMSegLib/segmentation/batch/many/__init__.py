"""A batch over many processes and computers, on dask.distributed."""
