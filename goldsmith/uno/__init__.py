"""UNO's pure steps (arXiv 2602.06470): what two kinds need, or a kind and the SDK. Imports pydantic and numpy at most."""
