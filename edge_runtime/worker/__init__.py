"""A model in a process of its own: the child, the parent's end, what the user lets a bundle do, and the replay."""
