"""How train_small_models.py makes its models: words.py and corpus.py what they read, shapes.py and training.py how they
learn it, task_files.py what they are asked.
"""
