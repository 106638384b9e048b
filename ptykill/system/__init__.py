"""The system floor: system calls, terminals, helper processes, and the containment tiers."""
