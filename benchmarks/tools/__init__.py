"""What `lorisbench data` does with images: describe, verify, find leaks, unpack."""
