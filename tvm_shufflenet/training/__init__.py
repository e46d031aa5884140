"""Training and evaluation of the PyTorch twins: pictures, recipes, the loop, what it writes."""
