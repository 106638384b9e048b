"""The engine: runs a supervisor and its sessions, on trio."""
