"""What is desired against what is known: what will happen, why, and how long it takes."""
