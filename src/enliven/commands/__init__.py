"""What each sub-command does. A module is imported when its command runs, and imports the heavy libraries only then."""
