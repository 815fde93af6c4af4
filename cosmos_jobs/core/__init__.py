"""The values that flow through cosmos-jobs, and the words they are told in."""
