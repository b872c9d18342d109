"""Workarounds for torch 2.14: one module each, with the upstream issue and the condition for removal.

- `adamw`: optimizers import the compiler.
- `softplus`: log1p is slow on CPUs with AVX-512.
- `convolution`: weight gradients of strided convolutions in bfloat16 are slow on CPUs.
- `collector`: Python's garbage collector goes through torch's modules again and again.
"""
