"""Batches as jobs of Slurm."""
