"""What every other room stands on: errors, files, the cache, the console, worker processes, the registry."""
