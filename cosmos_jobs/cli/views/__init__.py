"""What is said to readers: plans, tables, diagnostics and progress."""
