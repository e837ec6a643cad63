"""The device's verbs of the `edgekit` command: what they print, or give as JSON. They measure and judge nothing."""
