"""What is known: the store, and what comes into it and leaves it."""
