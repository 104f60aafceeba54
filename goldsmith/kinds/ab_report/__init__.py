"""AB report: what the events of an experiment say, however often one asks."""
