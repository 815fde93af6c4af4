"""Files by their content: digests, outputs, and where a team publishes them."""
