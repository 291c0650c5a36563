"""A sweep on one page: what it found, how far to trust that, and what to do next."""
