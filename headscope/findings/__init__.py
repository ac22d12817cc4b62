"""What a study found, in plain words: rows in, English out."""
