"""``ptykill serve``: the daemon, its HTTP server, and what guards them."""
