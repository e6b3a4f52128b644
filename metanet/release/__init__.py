"""Trained editors as folders, and edits of one network that meet what is demanded of them."""
