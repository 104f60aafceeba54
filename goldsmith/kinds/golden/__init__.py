"""What people asked, were answered, and said about it: out of imported runs, chat logs and rows of feedback."""
