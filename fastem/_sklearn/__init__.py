"""The bridge to scikit-learn's estimators."""
