"""Speed and memory against the goals of the project: `invoke bench`."""
