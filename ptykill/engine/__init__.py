"""The engine: what makes a supervisor and its sessions run, on trio."""
