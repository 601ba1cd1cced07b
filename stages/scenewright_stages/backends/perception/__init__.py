"""How alike two pictures look to a network that was trained on photographs."""
