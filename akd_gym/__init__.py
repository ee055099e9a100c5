"""Architecture-aware knowledge distillation as a Gymnasium environment."""
