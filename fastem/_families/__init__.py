"""What differs between distributions."""
