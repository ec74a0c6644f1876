"""Features that a backbone elsewhere made of images, in files: read in place of images."""
