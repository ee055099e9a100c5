"""How far a search's proxy task can be trusted: some of its students trained fully, and again, and their neighbours."""
