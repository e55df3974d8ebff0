"""What compares responses: models that talk, rewards, controls. Group to Group, with what an audit needs to know."""
