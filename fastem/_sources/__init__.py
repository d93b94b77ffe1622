"""Sources: X as something to pass over, in memory, in files or on a cluster."""
