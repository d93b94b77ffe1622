"""The pictures of `fastem.plot`."""
