"""The public functions and the models that they return."""
