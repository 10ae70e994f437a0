"""Counts that never wrap: bounds before each block, and residues of counts of any size."""
