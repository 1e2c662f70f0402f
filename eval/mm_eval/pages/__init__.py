"""Pages for people: the report of a run, and of a pose tokenizer."""
