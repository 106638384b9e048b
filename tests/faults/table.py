"""The system calls that may fail, by process, with their errors; and the faults of the suite."""

from __future__ import annotations

from tests.faults.trial import Fault

__all__ = ["CALLS", "ERRORS", "PHASES", "SHORT", "TIERS"]

TIERS = ("keeper", "session", "cgroup")
PHASES = {
    "host": ("open", "spawn", "live", "kill", "lost", "close"),
    "keeper": ("spawn", "live", "kill", "close"),
    "warden": ("spawn", "live", "kill", "lost", "close"),
}
"""The phases of a host's life in which there is each process: see `host`."""

CALLS = {
    "host": (
        "pread64",
        "read",
        "write",
        "poll",
        "recvmsg",
        "sendto",
        "sendmsg",
        "epoll_ctl",
        "timerfd_settime",
        "pidfd_open",
        "pidfd_send_signal",
        "close",
        "openat",
        "ioctl",
        "prlimit64",
        "socketpair",
        "waitid",
        "getdents64",
        "fcntl",
    ),
    "keeper": (
        "poll",
        "recvmsg",
        "sendto",
        "sendmsg",
        "read",
        "close",
        "waitid",
        "kill",
        "openat",
        "pidfd_open",
        "pidfd_send_signal",
    ),
    "warden": ("poll", "recvmsg", "sendto", "read", "close", "waitid", "kill", "openat", "clone"),
}
"""The calls of each process that may fail, by their names on x86-64."""

ERRORS = {
    "pread64": ("EIO", "ENOMEM"),
    "read": ("EIO", "ENOMEM"),
    "write": ("EIO", "ENOSPC"),
    "poll": ("ENOMEM",),
    "recvmsg": ("EIO", "ENOMEM", "ENOBUFS", "EAGAIN"),
    "sendto": ("EIO", "ENOBUFS", "EAGAIN", "EPIPE", "EPERM"),
    "sendmsg": ("EIO", "ENOBUFS", "EAGAIN", "EPIPE", "EPERM"),
    "epoll_ctl": ("ENOSPC", "ENOMEM"),
    "timerfd_settime": ("EIO",),
    "pidfd_open": ("ENOMEM", "EPERM", "EMFILE"),
    "pidfd_send_signal": ("EPERM", "ENOMEM", "EIO"),
    "close": ("EIO",),
    "openat": ("EIO", "ENOMEM", "EMFILE", "EPERM"),
    "ioctl": ("EIO",),
    "prlimit64": ("EPERM",),
    "socketpair": ("ENOMEM", "EMFILE"),
    "waitid": ("EIO", "ENOMEM"),
    "getdents64": ("EIO",),
    "fcntl": ("EIO",),
    "kill": ("EPERM",),
    "clone": ("EAGAIN", "ENOMEM"),
}

SHORT = [
    Fault(*line.split())
    for line in """
    keeper host open prlimit64 EPERM
    keeper host open epoll_ctl ENOSPC
    keeper host open pidfd_open ENOMEM
    keeper host open read EIO
    keeper host spawn recvmsg EIO
    keeper host spawn epoll_ctl ENOSPC
    keeper host spawn sendmsg EAGAIN
    keeper host spawn prlimit64 EPERM 1+
    keeper host live epoll_ctl ENOSPC 1+
    keeper host live ioctl EIO
    keeper host live read EIO
    keeper host kill poll ENOMEM
    keeper host kill recvmsg ENOBUFS
    keeper host kill sendto EPERM
    keeper host kill pread64 EIO
    keeper host kill epoll_ctl ENOMEM
    keeper host kill pidfd_send_signal EPERM 1+
    keeper host kill pidfd_send_signal ENOMEM
    keeper host kill close EIO
    keeper host close waitid EIO
    keeper host close poll ENOMEM
    keeper keeper spawn recvmsg ENOMEM
    keeper keeper spawn sendmsg EAGAIN 1
    keeper keeper spawn poll ENOMEM
    keeper keeper kill poll ENOMEM
    keeper keeper kill sendto EPIPE
    keeper keeper kill waitid ENOMEM
    keeper warden live recvmsg ENOMEM
    keeper warden lost poll ENOMEM
    keeper warden lost sendto EAGAIN
    cgroup host lost recvmsg ENOMEM
    keeper warden close waitid ENOMEM
    session host kill pread64 EIO
    session host kill pidfd_send_signal EPERM 1+
    session host kill epoll_ctl ENOSPC
    session host live read EIO
    cgroup host kill recvmsg EIO
    cgroup keeper kill openat ENOMEM
    """.strip().splitlines()
]
"""Each has once found a defect, or stands for a kind; together they take half a minute."""
