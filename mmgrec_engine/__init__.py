"""The engine of generative multimodal recommendation: arrays in, items out.

Importing this package is cheap; torch is imported by the modules that compute.
"""

from __future__ import annotations

__version__ = "0.1.0"
