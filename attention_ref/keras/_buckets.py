"""The buckets of a relative bias, by the smallest distance of each."""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import cache
from typing import Any

import numpy as np


@cache
def smallest_distances(buckets: int, maximum_distance: int) -> np.ndarray[Any, Any]:
    """Return the smallest distance of every bucket: in float32 those at the edges would change buckets."""
    exact = buckets // 2
    far = range(exact, maximum_distance + 1)

    def bucket(distance: int) -> int:
        share = math.log(distance / exact) / math.log(maximum_distance / exact)
        return exact + int(share * (buckets - exact))

    starts = [far[bisect_left(far, each, key=bucket)] for each in range(exact, buckets)]
    return np.minimum([*range(exact), *starts], np.iinfo(np.int32).max).astype(np.int32)
