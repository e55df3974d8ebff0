"""Tasks of other evaluation libraries on Accord's models, and Accord's tasks in theirs. Each needs its extra."""
