"""The rules of a session's life: pure values and tables, without clocks, pids or I/O."""
