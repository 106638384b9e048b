"""``python -m ptykill``: the command line."""

from ptykill.cli.main import main

if __name__ == "__main__":
    main()
