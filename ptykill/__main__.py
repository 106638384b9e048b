"""The command ``ptykill``, and ``python -m ptykill``: the first module that is imported for it."""

from ptykill.cli.interrupts import die_of_interrupts

__all__ = ["main"]


def main() -> None:
    """Import the command line, and run it."""
    die_of_interrupts()
    from ptykill.cli.main import main as run  # noqa: PLC0415 - Ctrl-C would end in a traceback

    run()


if __name__ == "__main__":
    main()
