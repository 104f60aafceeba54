"""Ablation: what each part of UNO was worth, on held-out sessions."""
