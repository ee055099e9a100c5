"""Face retrieval: section 6 of the paper. Embeddings by distillation, and identification among distractors."""
