"""PPO on ChatGLM with a solver in the place of the reward model."""

__version__ = "0.1.0"  # pyproject.toml reads it from here
