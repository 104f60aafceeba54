"""Router: clusters, gap and gates put together to what decides where a query goes."""
