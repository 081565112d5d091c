"""Write exact algorithms as the weights of small transformers; build, count, verify them."""
