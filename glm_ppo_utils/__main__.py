"""``python -m glm_ppo_utils``: the same as the command ``glm-ppo``."""

import sys


def main() -> int:
    """Run the commands, or say what they lack: the evaluator alone is installed without it."""
    try:
        from glm_ppo_utils import cli
    except ModuleNotFoundError as error:
        print(
            f"error: the commands need {error.name}: pip install 'glm-ppo-utils[series]', with "
            "Python 3.10, 3.11 or 3.12",
            file=sys.stderr,
        )
        return 2
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
