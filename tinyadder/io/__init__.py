"""Files: model folders and exports."""
