"""A reward that tells any two texts apart: an untrained policy's answers are all wrong alike."""


def letters(prompts, completions, **_):
    """One fortieth for every character that occurs."""
    return [len(set(text)) / 40 for text in completions]
