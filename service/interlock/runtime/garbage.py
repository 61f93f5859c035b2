"""Keep Python's collector away from what stays.

A full collection looks at every object that there is, with the interpreter's lock held: with
a thousand models all requests wait for 150 ms. What has been looked at once and stays need
not be looked at again. It still goes when the last reference goes; only a circle of such
objects would stay for good.
"""

import gc


def spare_what_stays() -> int:
    """Collect once, and never look at what is left again; return how many objects that is."""
    gc.collect()
    gc.freeze()
    return gc.get_freeze_count()
