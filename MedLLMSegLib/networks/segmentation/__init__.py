"""Networks that label each voxel, or find an organ."""
