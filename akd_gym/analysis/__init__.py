"""What a search found: outcomes, Pareto fronts, tables, figures, and the picture of a network."""
