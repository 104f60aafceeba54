"""Who asks a teacher, each in a process of its own: an `Order` comes in as JSON on stdin, a `Done` goes out on stdout."""
