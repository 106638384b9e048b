"""The system layer: system calls, terminals, helper processes, and the containment tiers."""
