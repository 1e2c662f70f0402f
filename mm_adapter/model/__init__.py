"""What a coach is: its language model, mappers, pose tokens, adapter, and how a conversation becomes tokens."""
