"""The commands of a person: sessions of a daemon, and one without a daemon, at their terminal.

``commands`` has the options. ``actions`` does what they ask of a daemon, with ``daemon_client``,
``kill_requests``, ``tokens``, and ``attach`` over a ``websocket``. Other commands have
``…_commands`` and ``…_actions`` of their own; ``event_reader`` follows a daemon's events, and
``reconnecting`` says when to connect again. ``run`` runs one command without a daemon.
``local_terminal`` is the person's terminal, with ``raw_mode``, ``modes`` and ``detach_key``.
``messages``, ``line_writer``, ``table`` and ``event_lines`` write what is shown.
"""
