"""What is run, how much of it, in which order, at what price."""
