"""Images in classes: trained, measured and compared, with no text anywhere."""
