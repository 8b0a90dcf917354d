"""What Discord accepts in a request body, and the errors it gives for the rest."""
