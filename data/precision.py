"""The types that large models can be asked to compute in."""

from typing import Literal

Precision = Literal["auto", "float32", "bfloat16", "float16"]
"""`auto`: half precision where the device computes it natively, else float32."""
