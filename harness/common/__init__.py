"""What every other package builds on: errors, files, the cache, the console, worker processes, the registry."""
