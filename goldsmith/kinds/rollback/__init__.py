"""Rollback: what a deployment replaced answers again."""
