"""Search over folder trees: one SQLite file remembers what every picture looks like. Loads no torch by itself."""
