"""What a batch is made of: clips, conversations about them, token sequences."""
