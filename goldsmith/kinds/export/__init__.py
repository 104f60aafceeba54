"""Export: an adapter as files that other programs load, each of them compared with the trained model."""
