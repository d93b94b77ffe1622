"""Benchmarks of fastem, for airspeed velocity."""
