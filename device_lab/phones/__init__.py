"""Measuring on Android phones: what they are, the state they are in, and the benchmark that runs on them."""
