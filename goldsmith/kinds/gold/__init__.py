"""A teacher's answers for a corpus: asked, checked, repaired once or dropped. Machine-checked, not human-verified."""
