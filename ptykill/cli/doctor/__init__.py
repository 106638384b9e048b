"""``ptykill doctor``: which containments work on this machine, and what the others lack."""
