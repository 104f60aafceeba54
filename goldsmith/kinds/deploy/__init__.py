"""Deploy: an adapter as a model of Ollama, which gets its name only once it answers like the trained model."""
