"""``python -m glm_ppo_utils``: the same as the command ``glm-ppo``."""

import sys

from glm_ppo_utils.cli import main

if __name__ == "__main__":
    sys.exit(main())
