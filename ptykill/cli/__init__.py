"""The ``ptykill`` command: ``serve``, its clients, ``run``, ``doctor`` and ``demo``."""
