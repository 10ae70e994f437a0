"""From the target to the inputs: what evaluations share, one block after the other, and what is asked of them later."""
