"""What measurements are made of: samples, their statistics, the rules that make them valid, comparisons."""
