"""``ptykill serve``: the daemon, its HTTP server, its log, and its limits of connections."""
