"""The machine that measures: its processor, memory, energy counters, and what else it was doing."""
