"""Carry a plan out: claim, submit, follow, collect, record, publish."""
