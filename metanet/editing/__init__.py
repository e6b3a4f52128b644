"""Edits of one network of somebody else's, to what is demanded of it."""
