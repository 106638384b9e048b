"""``python -m ptykill``: the command line."""

from ptykill.cli import main

if __name__ == "__main__":
    main()
