"""From recorded runs to a dataset of prompts times configs, split without a leak."""
