"""Many images, texts and table rows -> embeddings -> files, in constant memory."""
