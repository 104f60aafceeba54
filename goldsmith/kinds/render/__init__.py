"""The rows of a dataset in another template: the same inputs, contexts and answers, nothing bought."""
