"""``distributed.elastic``: what programs started by the launcher use of it."""
