"""`python -m lorisbench` is the command `lorisbench`."""

from lorisbench.cli.app import main

if __name__ == "__main__":
    main()
