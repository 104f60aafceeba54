"""The block about looking things up that the stand-in puts below a prompt. Ours."""


def get_wikipedia_instructions() -> str:
    return """
LOOKING THINGS UP
Where you are not sure of a fact that the prompt names, write <wiki lang="xx">term</wiki> and you will be told.
- once for each term
- in a language of the place that it belongs to"""
