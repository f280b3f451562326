"""The paper's tables and figures, run again: what each consists of, how long it takes, what it came to."""
