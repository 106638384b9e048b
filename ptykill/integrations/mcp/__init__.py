"""A server of the Model Context Protocol on standard input and output: terminals for an agent."""
