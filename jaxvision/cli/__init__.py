"""jaxvision.cli."""
