"""The type of arrays of any library."""

from typing import Any

Array = Any
"""An array of any library that follows the Array API: NumPy and torch on the CPU, CuPy on a GPU."""
