"""Attention probabilities without the attention matrix: one route a file, one mask file, one door.

door.py     what Hugging Face calls instead of its own kernel, and who is listening
mask.py     the mask, the same for all routes
rows.py     what a listener gets: probabilities at chosen (query, key) pairs, or in blocks of query rows
fused.py    CPU: torch's flash kernel, which keeps the row-wise log-sum-exp
flex.py     CUDA: flex_attention with its log-sum-exp
chunked.py  everywhere, soft-capping and unequal widths too: plain PyTorch, a block of queries at a time
eager.py    families outside the interface: one layer's matrix in memory at a time
"""
