"""`lorisbench bench`: what the harness costs on this machine."""
