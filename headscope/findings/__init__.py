"""Rows in, English out: what a study found, in plain words."""
