"""The hosts: how a machine is reached."""
