"""From a suite to its files: one run, worker processes, the output folder, latency, and the search for settings."""
