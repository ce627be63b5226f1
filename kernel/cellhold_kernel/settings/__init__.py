"""What a notebook may say of its container, the machine's policy, and the notebook's folder."""
