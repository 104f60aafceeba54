"""How much of what users asked for a model would have asked of itself: which clusters an expert may be trained for."""
