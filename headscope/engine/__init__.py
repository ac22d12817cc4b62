"""Who runs the units where it is not the stage itself: Ray.

A stage is asked for its units (headscope/store/ahead.py), and ray.py hands them to workers, which hold the model.
passing.py packs a unit's work, worker.py does it; nothing of Ray is imported before it is asked for.
"""
