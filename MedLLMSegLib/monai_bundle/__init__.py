"""What MONAI's own runner calls when it runs one of our bundles; imported by nothing of ours."""
