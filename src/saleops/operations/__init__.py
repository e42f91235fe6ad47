"""What saleops does, a command group a file: plain functions that get ports and return frozen results."""
