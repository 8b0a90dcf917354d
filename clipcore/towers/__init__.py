"""The torch half of the library: what each family of models does in its own way. Only model.py and train look in."""
