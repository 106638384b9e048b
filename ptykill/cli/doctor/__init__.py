"""``ptykill doctor``: what this machine lets ptykill do, and why not more."""
