"""What keeps the committed pages, tables and pictures as they are printed today."""
