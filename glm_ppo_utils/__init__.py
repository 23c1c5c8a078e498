"""PPO on ChatGLM with a solver in the place of the reward model."""
