"""Suites: their typed settings, how they are read and completed, and the YAML files shipped with the package."""
