"""Relevance over whole datasets: sweeps that fold many examples into one small result."""
