"""A machine that is reached by SSH."""
