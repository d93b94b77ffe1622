"""X as something to sweep, wherever it lies."""
