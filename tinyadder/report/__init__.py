"""The leaderboard and the report page, made from saved results."""
