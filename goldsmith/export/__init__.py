"""A trained model for other programs: GGUF files, Ollama's Modelfile, a model card, and the check that what is served is what
was trained."""
