"""What the operations and services need from the outside, as small protocols."""
