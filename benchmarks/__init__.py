"""Benchmarks: what ending a session costs with ptykill, with other libraries, and in bare C."""
