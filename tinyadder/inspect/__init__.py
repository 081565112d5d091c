"""Looking inside one run: traces, patches, plots, the explorer page."""
