"""The training of a localizer on images synthesised from label maps."""
