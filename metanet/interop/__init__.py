"""Trained networks from other frameworks, and edited ones back into them."""
