"""A keeper: the parent of one session's leader, and of whatever escapes from that session.

It is a subreaper (prctl(2)): whoever among its descendants loses its parent, by a double fork or
otherwise, becomes its child. So

- nobody escapes it, and all that it has are of this session and no other;
- the session is empty when it has no child left: wait(2) says ECHILD, which is a fact and no look
  at a table; it is an event, since every death of a child is;
- killing its children is enough, and free of races: only it can reap them, so their numbers are
  theirs; the children of the dead become its own, until there are none.

It is asleep until something happens. When the host dies, however that happens, it carries out the
session's plan by itself (`alone`).
"""

from __future__ import annotations

import errno
import math
import os
import select
import signal
import socket
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from typing import NoReturn

from ptykill.system.keeper import wire
from ptykill.system.keeper.orphaned import OrphanedTeardown
from ptykill.system.kernel import syscalls
from ptykill.system.kernel.cgroup import Cgroup
from ptykill.system.kernel.children import WALL, Children
from ptykill.system.kernel.pidfd import open_pidfd
from ptykill.system.kernel.procfs import descends, in_other_pid_namespace, members, read_proc, stat
from ptykill.system.kernel.retry import again, close
from ptykill.system.kernel.session_leader import Order, start_leader

__all__ = ["NAME", "run_keeper"]

NAME = b"ptykill-keeper"
"""How ps(1) shows one that is ready; until then it has the warden's name."""

_RETRY_FIRST, _RETRY_LONGEST = 0.005, 1.0
"""Seconds between two rounds of SIGKILL while somebody lives: doubling, up to the longest."""
_PAUSE_FIRST, _PAUSE_LONGEST = 0.005, 0.5
"""Seconds from a system call that failed to the next try: doubling, up to the longest."""
_STAY = 0.05
"""Seconds for which a keeper stays in its session's cgroup: shorter sessions need not wait."""
_FAREWELL = 1000
"""Milliseconds that the host may take to hang up when it was told that nobody is left."""


def run_keeper(channel: socket.socket, host: int, groups: str | None) -> NoReturn:
    """Be a keeper, in a process just forked: to the end of its session."""
    try:
        try:
            keeper = Keeper(channel, host, groups)
        except OSError as error:
            wire.send(channel, (wire.FAILED, error.errno, "keeper"))
            os._exit(0)
        keeper.warm_up()
        syscalls.set_name(NAME)
        keeper.run()
    except BaseException:  # noqa: BLE001 - the warden, and the host, take it for a death
        wire.send(channel, (wire.BROKEN, traceback.format_exc()))
        os._exit(1)
    os._exit(0)


class Keeper:
    """One keeper, from before the birth of its session's leader to the end of the session."""

    def __init__(self, channel: socket.socket, host: int, groups: str | None) -> None:
        self._channel: socket.socket | None = channel
        syscalls.become_subreaper()
        if not stat(os.getppid()):
            # What may not be opened up is hidden where /proc hides processes (proc(5), hidepid):
            # so is the warden from us, and we would be from the host, which finds members by us.
            syscalls.set_dumpable(True)
        self._deaths = syscalls.child_events()
        self._offspring = Children()
        self._cgroup = None if groups is None else Cgroup.create(groups)
        self._inside = self._cgroup is not None
        if self._cgroup is not None:
            self._cgroup.add_process(os.getpid())  # Until the leader has been born inside.
        self.leader: int = 0
        self.status: wire.Status | None = None
        self._told = False
        self._failed: tuple[int | None, str] | None = None
        self._over = False
        self._killing = False
        self._refused: set[int] = set()
        """Who may not be sent SIGKILL, in the last round."""
        self._spared = {os.getpid(), os.getppid(), _pid_of(host)}
        self._retry = _RETRY_FIRST
        self._due = math.inf
        self._will: wire.Handover | None = None
        self._heard = 0.0
        self._alone: OrphanedTeardown | None = None
        self._unsent: list[tuple[wire.Message, Sequence[int]]] = []
        """What the host has still to be told, with its descriptors."""
        self._host = host
        self._poll = select.poll()
        self._doors: dict[int, Callable[[], None]] = {}
        self._open(self._deaths, self._somebody_died)
        channel.settimeout(0)

    def warm_up(self) -> None:
        """Go through what is to be quick when it counts: a birth, if nobody waits, and an end.

        The pages that are shared with the warden are copied when they are first touched, which
        takes as long as all else together, and is best done before.
        """
        channel = self._channel
        assert channel is not None
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            theirs.settimeout(0)
            self._channel = theirs
            with suppress(OSError):  # EMFILE, say: what matters will tell of that.
                if not _happened(channel, select.POLLIN):
                    self._rehearse_birth(ours)
                self.leader = os.getpid()  # Who has no children.
                self._somebody_died()
                self._tell(wire.EMPTY, self._status_of(_HUNG_UP))
            self._shut(theirs.fileno())
        self._channel, self._will, self._failed = channel, None, None
        self._unsent.clear()
        self.leader, self._over = 0, False

    def _rehearse_birth(self, host: socket.socket) -> None:
        umask = os.umask(0)
        os.umask(umask)
        # It is found, and may be executed, and can't be (ENOEXEC): a NUL is no program, nor a
        # script.
        nothing = syscalls.anonymous_file()
        root = os.open("/", os.O_PATH)
        try:
            os.write(nothing, b"\0")
            order = {**_REHEARSED, "args": [b"%d" % nothing]}
            wire.send(host, (wire.ORDER, order, umask, *_LAST_WILL), [nothing, root])
            assert self._channel is not None
            self._open(self._channel.fileno(), self._hear)
            while not self._over:
                self._see_once()
            self._tell(wire.STARTED, 0, os.getpid(), None, fds=[syscalls.pidfd_open(os.getpid())])
        finally:
            os.close(nothing)
            os.close(root)

    def run(self) -> None:
        """Do what is to be done when it happens, until nobody is left."""
        assert self._channel is not None
        self._open(self._channel.fileno(), self._hear)
        self._open(self._host, self._go_on_alone)
        self._see_to_it()
        self._take_leave()

    def _see_to_it(self) -> None:
        """Do what there is to do, until the session is over.

        A system call that fails, for want of memory say, is made again after a pause: a keeper
        that ended by it would lose hold of its session.
        """
        pause = _PAUSE_FIRST
        while not self._over:
            try:
                self._see_once()
            except OSError:
                time.sleep(pause)
                if self.leader:
                    # All is looked at again: not everything would be told a second time.
                    self._due = min(self._due, time.monotonic())
                pause = min(2 * pause, _PAUSE_LONGEST)
            else:
                pause = _PAUSE_FIRST

    def _see_once(self) -> None:
        left = self._due - time.monotonic()
        if self._unsent:
            left = min(left, _PAUSE_FIRST)
        for fd, _ in self._poll.poll(None if left == math.inf else max(0, 1000 * left)):
            if fd in self._doors:
                self._doors[fd]()
        self._send_the_rest()
        if not self._over and time.monotonic() >= self._due:
            self._be_in_time()

    def _open(self, fd: int, door: Callable[[], None], when: int = select.POLLIN) -> None:
        self._doors[fd] = door
        self._poll.register(fd, when)

    def _shut(self, fd: int) -> None:
        if self._doors.pop(fd, None) is not None:
            self._poll.unregister(fd)

    # --- the host ---------------------------------------------------------------------------------

    def _hear(self) -> None:
        assert self._channel is not None
        try:
            message, fds = wire.receive(self._channel)
        except BlockingIOError:
            return
        match message[0]:
            case wire.ORDER if self._taken_back():
                self._over = True
            case wire.ORDER if not fds:  # We have none left, so they were dropped on their way.
                self._failed = errno.EMFILE, "keeper"
                self._over = True
            case wire.ORDER:
                order, umask, *will = message[1:]
                self._will, self._heard = wire.Handover(*will), time.monotonic()
                if umask is not None:
                    os.umask(umask)
                self._bear(order, *fds)
            case wire.HANDOVER:
                self._will, self._heard = wire.Handover(*message), time.monotonic()
            case wire.KILL:
                self.kill()
            case wire.SPARE:
                self._leave_it_at_that()
            case wire.GONE:
                self._go_on_alone()

    def _taken_back(self) -> bool:
        """Return whether the host waits for no birth any more: it has shut its end for writing."""
        assert self._channel is not None
        return _happened(self._channel, select.POLLRDHUP)

    def _bear(self, order: Order, terminal: int, directory: int, stdin: int | None = None) -> None:
        """Have the leader be born, and tell how that went. A failure is the end of this keeper."""
        try:
            self.leader = start_leader(order, terminal, directory, stdin)
            pidfd = again(lambda: syscalls.pidfd_open(self.leader))
        except OSError as error:
            self._failed = error.errno, getattr(error, "stage", "keeper")
            if self.leader:  # EMFILE: nobody could hold it, so it is not to live on.
                self.kill()
            else:
                self._over = True
            return
        finally:
            for fd in terminal, directory, stdin:
                if fd is not None:
                    close(fd)
        path = None if self._cgroup is None else self._cgroup.path
        self._tell(wire.STARTED, self.leader, os.getpid(), path, fds=[pidfd])
        if self._inside:
            self._due = time.monotonic() + _STAY

    def _come_out(self) -> None:
        """Leave the cgroup, in which the leader has been born.

        That may take the kernel some 10 ms (cgroup_attach_lock), so it is done when there is time.
        """
        if self._cgroup is not None and self._inside:
            # Refused (EROFS, EBUSY, a limit): we stay, and are not counted, until we end.
            with suppress(OSError):
                self._cgroup.remove_process(os.getpid())
                self._inside = False

    def _tell(self, what: str, *about: object, fds: Sequence[int] = ()) -> None:
        """Tell the host something; now or, if that can't be, soon. The descriptors become ours."""
        self._unsent.append(((what, *about), fds))
        self._send_the_rest()

    def _send_the_rest(self) -> None:
        """Send what could not be sent before, in its order; the host waits for it."""
        while self._unsent:
            message, fds = self._unsent[0]
            if self._channel is not None:
                try:
                    if not wire.send(self._channel, message, fds) and _there(self._channel):
                        return
                except OSError:
                    return
            del self._unsent[0]
            for fd in fds:
                close(fd)

    def _hang_up(self) -> None:
        """Have no more to do with the host."""
        if self._channel is not None:
            self._shut(self._channel.fileno())
            self._shut(self._host)
            channel, self._channel = self._channel, None
            with suppress(OSError):  # See `again.close`.
                channel.close()

    def _go_on_alone(self) -> None:
        """The host is dead, or has given this session up: end it as it would have."""
        self._hang_up()
        if self._will is None:  # Nobody was ever born.
            self._over = True
            return
        self._alone = OrphanedTeardown(self, self._will, time.monotonic() - self._heard)
        due = self._alone.begin(killing=self._killing)  # Which may set ours: a kill's next round.
        self._due = min(self._due, due)

    def _leave_it_at_that(self) -> None:
        """Whoever is left is to be left alone; be their parent, and no more."""
        self._hang_up()
        _reap(self.leader)
        self._somebody_died()

    # --- the session ------------------------------------------------------------------------------

    def _somebody_died(self) -> None:
        if self._nobody_left():
            return
        # Who dies from now on is told anew; and who died since we looked, is looked for again.
        with suppress(BlockingIOError):
            os.read(self._deaths, 4096)
        if not self.leader or self._nobody_left():
            return
        if self.status is None:
            self._look_for_the_dead()
        if self.status is not None:
            self._after_the_leader()
        if self._killing:
            self._kill_children()

    def _nobody_left(self) -> bool:
        """Return whether the session is empty, and so over."""
        if not self.leader or _somebody_lives() or not self._reap_all():
            return False
        if self._cgroup is not None and self._cgroup.any_of_ours(self._is_ours):
            # It has lost its parent in another pid namespace.
            self._open(self._cgroup.events, self._somebody_died, select.POLLPRI)
            # As long as we are there too, or a stranger is, there is no event when it goes.
            self._due = min(self._due, time.monotonic() + _STAY)
            return False
        self._over = True
        return True

    def _is_ours(self, pid: int) -> bool:
        """Return whether one in our cgroup is of the session, and was not moved in by it.

        Whoever loses its parent becomes a child of ours, or of the first process of its pid
        namespace, if that is not ours (Linux find_new_reaper). So anybody in our namespace who does
        not descend from us never did; of the others the cgroup knows more than descent.
        """
        if pid in self._spared:
            return False
        return descends(pid, os.getpid()) or in_other_pid_namespace(pid)

    def _look_for_the_dead(self) -> None:
        """Reap orphans, until nobody has died, or the leader has.

        The leader is not reaped while anybody lives: it keeps the number of the session, and of its
        own group, from being given to others while signals may still be sent there.
        """
        while True:
            found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | WALL)
            if found is None:
                return
            if found.si_pid == self.leader:
                self.status = self._status_of(found)
                return
            _reap(found.si_pid)

    def _after_the_leader(self) -> None:
        if not self._told and self._failed is None:
            self._told = True
            self._tell(wire.EXITED, self.status)
        # Behind the leader's zombie, waitid(2) does not show the others.
        for pid in self._offspring.list():
            if pid != self.leader:
                _reap(pid)

    def _reap_all(self) -> bool:
        """Reap every child; return whether none is left, not even one that can't be reaped."""
        try:
            while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | WALL):
                if found.si_pid == self.leader:
                    self.status = self._status_of(found)
        except ChildProcessError:
            return True
        return False

    def _take_leave(self) -> None:
        if self._channel is not None:
            if self._failed is not None:
                self._tell(wire.FAILED, *self._failed)
            elif self.leader:
                self._tell(wire.EMPTY, self.status)
            # The host first: our own end would keep it waiting, on the processor that woke it.
            self._shut(self._deaths)
            until = time.monotonic() + _FAREWELL / 1000
            while self._unsent and time.monotonic() < until:
                time.sleep(_PAUSE_FIRST)
                self._send_the_rest()
            with suppress(OSError):
                again(lambda: self._poll.poll(_FAREWELL))
        if self._cgroup is not None:
            self._come_out()
            self._cgroup.remove()

    def _status_of(self, found: os.waitid_result) -> wire.Status:
        if found.si_code == os.CLD_EXITED:
            return found.si_status, None, False, False
        oom = found.si_status == signal.SIGKILL and self._cgroup is not None and self._cgroup.oom()
        return None, found.si_status, found.si_code == os.CLD_DUMPED, oom

    # --- its end ----------------------------------------------------------------------------------

    def kill(self) -> None:
        """Kill until nobody is left: whenever somebody dies, and now and then."""
        if not self._killing:
            self._killing = True
            self._due = time.monotonic() + self._retry
        self._kill_children()

    def _kill_children(self) -> None:
        _, self._refused = self._offspring.kill()

    def _be_in_time(self) -> None:
        self._due = math.inf
        self._come_out()
        if self._killing:
            self._kill_deep_down()
            self._retry = min(2 * self._retry, _RETRY_LONGEST)
            self._due = time.monotonic() + self._retry
        self._somebody_died()
        if self._alone is not None and not self._over:
            due = self._alone.be_in_time()
            self._due = min(self._due, due)

    def _kill_deep_down(self) -> None:
        """Kill those below one that can't be killed, and so keeps its children from us.

        /proc is believed for that, on which root can mount what it likes: so a keeper of root's
        does it only if a child has refused, which none does as long as root has its rights.
        """
        alive: set[int] = set()
        if self._refused or os.geteuid():
            with suppress(OSError):  # EMFILE, ENOMEM: the next round may do better.
                ourselves = open_pidfd(os.getpid())
                assert ourselves is not None
                with closing(ourselves):
                    for process in members(ourselves):
                        alive.add(process.pid)
                        try:
                            process.send(signal.SIGKILL)
                        except PermissionError:
                            self._refused.add(process.pid)
        if self._cgroup is not None:
            self._refused |= self._cgroup.kill_each(self._is_ours)
            if self._refused:
                with suppress(OSError):
                    # Those that may not be killed one by one. Nobody else of the session lives, who
                    # could move a stranger in between this look and the kill.
                    if self._refused.issuperset(alive.union(self._cgroup.members())):
                        self._cgroup.kill()


_LAST_WILL = wire.Handover(wire.HANDOVER, "", "", 0, 0.0, 0.0)
_HUNG_UP = os.waitid_result((0, 0, 0, int(signal.SIGHUP), os.CLD_KILLED))
"""How it ends in a rehearsal."""
_REHEARSED: Order = {
    "args": [],
    "env": {b"PATH": b"/proc/self:/proc/self/fd"},
    "cwd": b"/",
    "uid": None,
    "gid": None,
    "groups": None,
    "umask": None,
    "limits": None,
    "nice": None,
    "death_signal": None,
}
"""What is ordered in a rehearsal: a program by its name, looked for in two folders."""


def _happened(channel: socket.socket, what: int) -> bool:
    poll = select.poll()
    poll.register(channel, what)
    return bool(again(lambda: poll.poll(0)))


def _there(channel: socket.socket) -> bool:
    """Return whether the other end is open (POLLHUP is told unasked)."""
    return not _happened(channel, 0)


def _pid_of(pidfd: int) -> int:
    """Return the pid that a pidfd is for (pidfd_open(2), fdinfo); 0 if it can't be told."""
    for line in read_proc(f"self/fdinfo/{pidfd}").splitlines():
        if line.startswith(b"Pid:"):
            return int(line.split()[1])
    return 0


def _somebody_lives() -> bool:
    """Return whether any child is alive, in whatever state.

    Asked for stopped children, and not for dead ones, wait(2) says ECHILD if there are none that
    might stop: all are zombies, or there are none (Linux do_wait, notask_error).
    """
    try:
        os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOHANG | os.WNOWAIT | WALL)
    except ChildProcessError:
        return False
    return True


def _reap(pid: int) -> None:
    """Reap a child, if it is dead."""
    with suppress(ChildProcessError):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | WALL)
