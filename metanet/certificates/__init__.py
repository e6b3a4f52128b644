"""What holds for a network with a stated probability, from rows that it was not chosen on."""
