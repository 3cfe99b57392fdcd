"""``utils.deterministic``: what else `use_deterministic_algorithms` does."""

fill_uninitialized_memory = True  # kept; memory that nobody wrote is not filled
