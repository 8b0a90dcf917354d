"""The HTTP routes of the API, one file a subject."""
