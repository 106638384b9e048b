"""Pseudo-terminals and the birth of their session leaders."""
