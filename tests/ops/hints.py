DOMAINS = {}
HINTS = {}
