"""The demo and the benchmark, which the command line runs."""
