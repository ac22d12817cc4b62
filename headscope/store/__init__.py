"""The only room that touches a run directory, and the home of every name that stands in one.

run.py reads, writer.py writes. manifest.py, tables.py, units.py, attention_example.py: one kind of file each, whole or
not there. sealed.py: read only if it is what was written. schema.py, parquet.py: what a manifest and a table may hold.
comparisons.py, names.py, glossary.py: what stands in them. snapshot.py: the tables of a run, each read once.
"""
