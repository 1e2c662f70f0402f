"""What a number rests on: metrics as statistics per item, intervals over people, paired comparisons, agreement."""
