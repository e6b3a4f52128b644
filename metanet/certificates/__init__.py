"""What holds for a network with a stated probability, from rows that did not make it."""
