"""What scores responses: verifiers, heuristics, reward models and servers, a user's own functions. Group to Group."""
