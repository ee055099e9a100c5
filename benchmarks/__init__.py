"""The numbers this project promises, measured: `python -m benchmarks`."""
