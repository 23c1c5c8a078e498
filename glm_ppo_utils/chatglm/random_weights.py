from .hub import published_config  # noqa: F401
from .loading import random_policy  # noqa: F401
