"""Uno: from logs to routed adapters, every step a job of its own."""
