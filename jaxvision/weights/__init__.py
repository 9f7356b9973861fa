"""jaxvision.weights."""
