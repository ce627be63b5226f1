"""What a notebook's container is made of: settings, machine policy, folder."""
