"""Everything that differs between distributions."""
