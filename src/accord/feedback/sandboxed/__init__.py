"""What runs inside the sandbox's child process. It imports nothing of Accord and is started by its path."""
