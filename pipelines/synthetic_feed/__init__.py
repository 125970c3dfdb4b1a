"""A made-up feed: 14 tasks, user ids, labels that are missing."""
