"""A model in a process of its own: the child, the parent's end, what a bundle may do, and the replay."""
