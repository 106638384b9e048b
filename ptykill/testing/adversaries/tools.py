"""Adversaries that are known programs with daemons: tmux, screen, the agents of ssh and gpg."""

from __future__ import annotations

from ptykill.rules.verdict import ExitStatus, Outcome
from ptykill.testing.adversaries.program import KILLED, Program, shell

__all__ = ["TOOLS"]

TOOLS: tuple[Program, ...] = (
    shell(
        "tmux",
        "starts a tmux server with a session in it, and attaches to it",
        """
        trap '' HUP
        tmux -S socket -f /dev/null new-session -d 'trap "" HUP; sleep 60; :'
        : > ready
        env TERM=xterm tmux -S socket attach
        sleep 60
        """,
        Outcome.KILLED,
        KILLED,
        escapes=True,
        needs=("tmux",),
    ),
    shell(
        "screen",
        "starts a detached screen with a program in it",
        """
        trap '' HUP
        SCREENDIR=$PWD/screens; export SCREENDIR; mkdir -m 700 screens
        screen -d -m sh -c 'trap "" HUP; sleep 60; :'
        : > ready
        sleep 60
        """,
        Outcome.KILLED,
        KILLED,
        escapes=True,
        needs=("screen",),
    ),
    shell(
        "agents",
        "starts the agents for ssh and gpg keys, which become daemons",
        """
        trap '' HUP
        eval "$(ssh-agent -a ssh)" >agents 2>&1
        mkdir -m 700 keys
        gpg-agent --homedir keys --daemon >>agents 2>&1
        : > ready
        sleep 60
        """,
        Outcome.KILLED,
        KILLED,
        escapes=True,
        needs=("ssh-agent", "gpg-agent"),
    ),
    shell(
        "job that outlives its leader",
        "has a leader that exits on SIGHUP, and a daemon that continues to write",
        """
        (setsid sh -c 'trap "" HUP TERM INT; : > up
            until [ $((n += 1)) -gt 6000 ]; do echo x; sleep 0.01; done' &)
        trap ': > cleaned; exit 6' HUP
        until [ -e up ]; do sleep 0.01; done
        : > ready
        until [ $((n += 1)) -gt 6000 ]; do sleep 0.01; done
        """,
        Outcome.KILLED,
        ExitStatus(code=6),
        cleans_up=True,
        escapes=True,
    ),
)
