"""The project's settings, the schemas of our files, and YAML text as plain values."""
