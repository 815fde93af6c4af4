"""Files by content: media and how they are read, digests, outputs, stores of objects."""
