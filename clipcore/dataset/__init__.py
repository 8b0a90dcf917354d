"""Pictures with captions, labels or neither, however they lie on a disk."""
