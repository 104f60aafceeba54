"""What Goldsmith knows of the devserver: its recordings and its configs, read from a folder, never imported or copied."""
