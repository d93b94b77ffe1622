"""Expectation-Maximization: the loop, its objective and its initial parameters."""
