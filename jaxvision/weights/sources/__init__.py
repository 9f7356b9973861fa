"""jaxvision.weights.sources."""
