"""Ends the command at once when Ctrl-C comes while it imports modules.

Python's own handler raises KeyboardInterrupt in whatever code runs. In an import that ends in a
traceback; in a callback of the import system Python only prints it, and goes on.
"""

import os
import signal

__all__ = ["die_of_interrupts", "raise_interrupts"]


def die_of_interrupts() -> None:
    """Have SIGINT end this process, if it would raise KeyboardInterrupt (it may be ignored)."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _die)


def raise_interrupts() -> None:
    """Have SIGINT raise KeyboardInterrupt again, if it would end this process."""
    if signal.getsignal(signal.SIGINT) is _die:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _die(number: int, _: object) -> None:
    """Die of the signal: nothing has been begun that would have to be ended."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    # The kernel does not kill process 1 of a container by a default action (pid_namespaces(7)).
    os._exit(128 + number)
