"""Results from several outputs and from elsewhere, brought together: what reports and comparisons then read."""
