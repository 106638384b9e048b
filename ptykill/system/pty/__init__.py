"""Pseudo-terminals, and the start of their session leaders."""
