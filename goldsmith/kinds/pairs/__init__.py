"""Better answers than those that were logged, as pairs to train experts on; and the rules, as rows to train critics on."""
