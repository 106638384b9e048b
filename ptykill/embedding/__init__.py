"""Ways into the engine for programs that do not run on trio."""
