"""A notebook's containers: which one is current, which one comes, and how one that ended is explained."""
