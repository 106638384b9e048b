"""The processes that run beside a host: the warden, its keepers, and the stub of a leader.

They import only the standard library, `rules/` and `kernel/`, so that they start fast and stay
small. Read `keeper.py` first.
"""
