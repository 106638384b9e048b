"""The command line's other end: sessions of a daemon, and one of its own, at a person's terminal.

Each file knows one thing: ``daemon`` where the daemon is and how it is asked, ``attach`` the
conversation over a WebSocket, ``tty`` the terminal that one sits at, ``keys`` and ``modes`` what
goes in and out of that, ``tokens`` what is remembered, ``table`` and ``telling`` what is shown,
``acts`` what each command does, ``run`` what the one does that needs no daemon, ``commands`` their
options.
"""
