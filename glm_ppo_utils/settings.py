"""What all settings have in common."""

import math


def require(settings: object, **least: float) -> None:
    """Check that each named field is a finite number of at least so much.

    Raises
    ------
    ValueError
        Naming the first that is not.
    """
    for name, smallest in least.items():
        value = getattr(settings, name)
        if not smallest <= value < math.inf:  # nan is not either
            raise ValueError(f"{name} is {value}; it must be a number of at least {smallest}")
