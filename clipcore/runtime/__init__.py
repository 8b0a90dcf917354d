"""How an image tower runs on what this machine has. Only model.py looks in."""
