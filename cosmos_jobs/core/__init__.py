"""Values and words that everything else uses."""
