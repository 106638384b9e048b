"""Benchmarks: what ending a session costs here, elsewhere, and where only the kernel is asked."""
