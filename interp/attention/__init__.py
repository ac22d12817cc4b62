"""Attention probabilities without the attention matrix: who listens, where the call is caught, and by which route.

door.py     who listens to a layer, and what the layer is answered
sdpa.py     where it is caught: most families, at torch's scaled_dot_product_attention
named.py    families that refuse sdpa: a function of our own in Hugging Face's attention interface
eager.py    families that know neither: their eager weights, one layer's matrix in memory at a time
mask.py     the mask and its bias, the same for all routes
rows.py     what a listener gets: probabilities at chosen (query, key) pairs, or in blocks of query rows
fused.py    route on a CPU: torch's flash kernel, which keeps the row-wise log-sum-exp
flex.py     route on CUDA: flex_attention with its log-sum-exp
chunked.py  route for everything, soft-capping and unequal widths too: plain PyTorch, a block of queries at a time
"""
