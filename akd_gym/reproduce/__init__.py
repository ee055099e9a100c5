"""The paper's figures and tables made again, at the scale of the embedded data."""
