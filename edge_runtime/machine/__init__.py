"""The machine that measures: its processor, memory and energy counters, and what else it was doing."""
