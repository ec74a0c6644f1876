"""Methods for LorisBench from outside of it, one of each kind; pyproject.toml tells where each is."""
