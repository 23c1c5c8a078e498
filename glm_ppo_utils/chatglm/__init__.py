"""ChatGLM3: a readable implementation of the published model, and its loading under TRL."""
