"""Notebook 04's experiments: imported by that notebook, the tests and make, and by nothing else."""
