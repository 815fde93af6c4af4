"""Carry a plan out."""
