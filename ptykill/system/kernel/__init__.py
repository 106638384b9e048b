"""System calls and /proc, for the host and its keepers, by the standard library.

Nothing here imports trio or psutil, or knows a plan, so a bare interpreter imports it fast.
"""
