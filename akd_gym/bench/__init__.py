"""AKDBench: real trainings of a sample of the space, and the surrogate that answers for all of it."""
