"""One operand of a block as numbers: rows, weights, denominators, winners, tiles, and its own linear map."""
