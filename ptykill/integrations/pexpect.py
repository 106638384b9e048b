"""`spawn`, a `pexpect.spawn` that ends all of its session. It needs pexpect.

::

    import pexpect
    from ptykill.integrations.pexpect import spawn

    with spawn("bash -i", encoding="utf-8") as child:
        child.expect(r"[$#] ")
        child.sendline("sleep 1000 &")
    assert child.verdict.empty

It is a subclass, so all of pexpect's documentation holds for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import pexpect

import ptykill
from ptykill.integrations.ptyprocess import PtyProcess, PtyProcessError, refuse_preexec

__all__ = ["spawn"]

_DEAF = "trap '' HUP; exec \"$@\""
"""Starts a program that ignores SIGHUP: what is ignored stays ignored across execve(2)."""


if TYPE_CHECKING:
    _Spawn = pexpect.spawn[Any]
else:
    _Spawn = pexpect.spawn


class spawn(_Spawn):  # noqa: N801 - pexpect's name
    """A `pexpect.spawn` on a `PtyProcess` of ptykill's; takes the same arguments.

    ``close()`` and ``terminate(force=True)`` end all of the session; ``verdict`` says how that
    went. ``preexec_fn`` is not supported, and raises `ptykill.InvalidArgument`.
    """

    process_class: ClassVar[type[PtyProcess]] = PtyProcess
    """The class of ``ptyproc``. Set one that has a ``supervisor`` of yours, in a subclass."""

    ptyproc: PtyProcess

    @property
    def verdict(self) -> ptykill.Verdict | None:
        """The verdict of the session, once there is one."""
        return self.ptyproc.verdict

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> str | bytes:
        """As in pexpect. The exit status is known whenever this raises EOF."""
        try:
            data: str | bytes = super().read_nonblocking(size, timeout)
        except pexpect.EOF:
            self.isalive()  # pexpect does it on some of its ways to here.
            raise
        return data

    def close(self, force: bool = True) -> None:  # noqa: FBT001, FBT002 - as in pexpect
        """End all of the session, and close the descriptor.

        Raises `pexpect.ExceptionPexpect` if a process is left.
        """
        self._pass_grace()
        try:
            super().close(force)
        except PtyProcessError as error:
            raise pexpect.ExceptionPexpect(*error.args) from error

    def terminate(self, force: bool = False) -> bool:  # noqa: FBT001, FBT002 - as in pexpect
        """End the child, or with ``force`` all of the session; return whether it has ended."""
        self._pass_grace()
        ended = self.ptyproc.terminate(force)
        self.isalive()  # Takes the exit status.
        return ended

    def kill(self, sig: int) -> None:
        """Send a signal to the child, if it is alive."""
        self.ptyproc.kill(sig)

    def _pass_grace(self) -> None:
        self.ptyproc.delayafterclose = self.delayafterclose
        self.ptyproc.delayafterterminate = self.delayafterterminate

    def _spawn(
        self,
        command: str,
        args: list[str] = [],  # noqa: B006 - as in pexpect, which only reads it
        preexec_fn: Callable[[], object] | None = None,
        dimensions: tuple[int, int] | None = None,
    ) -> None:
        refuse_preexec(preexec_fn)
        super()._spawn(command, args, None, dimensions)  # type: ignore[misc]

    def _spawnpty(self, args: Sequence[str | bytes], **options: Any) -> PtyProcess:  # noqa: ANN401
        if options.pop("preexec_fn", None) is not None:  # pexpect's own, for ``ignore_sighup``
            args = ["/bin/sh", "-c", _DEAF, "sh", *args]
        return self.process_class.spawn(args, **options)
