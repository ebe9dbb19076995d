"""All that a backend's author needs: the protocol, what a reader gives, and the optimizers."""
