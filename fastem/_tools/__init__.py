"""What the command line runs: the demo and the benchmark."""
