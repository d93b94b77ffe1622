"""Expectation-Maximization: the loop and its starts."""
