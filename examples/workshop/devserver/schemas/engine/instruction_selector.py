"""Which task text stage 2 gets. Part of the fictional workshop: read as text, never run."""

INSTRUCTION_TYPES = {
    "transformation": {
        "description": "Transforms a prompt by the rules of a context.",
        "default": (
            "Rewrite the prompt by the rules of the context as one short plain-text paragraph of one or two sentences, "
            "25 to 45 words, in the language of the prompt. Keep everything that the prompt names. "
            'No headings, no comments about the text, never "in the style of".'
        ),
    },
    "passthrough": {"description": "Hands the prompt on unchanged.", "default": "Repeat the prompt."},
}
