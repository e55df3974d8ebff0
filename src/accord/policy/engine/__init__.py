"""What computes log-probabilities fast: prompts shared by their responses, and a head that never holds all logits."""
