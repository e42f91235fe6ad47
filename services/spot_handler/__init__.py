"""The spot handler: one process a spot node, which empties the node in the minutes before its machine is reclaimed."""
