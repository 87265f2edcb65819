"""How a robot's bytes become events, and actions bytes: our own protocol, and others as they come."""
