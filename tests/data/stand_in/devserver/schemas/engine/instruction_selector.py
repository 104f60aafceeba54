"""The task text of the stand-in. Ours."""

INSTRUCTION_TYPES = {
    "transformation": {
        "description": "One text in, one text out.",
        "default": """Write the prompt anew as the context says.
Keep what it names – every figure, every "thing" – and say where it is.
  Two sentences; no list.""",
    },
}
