"""Seeds that are derived from their purpose."""

import hashlib


def seed_of(*purpose: str | int) -> int:
    """A 63-bit seed that depends on its purpose alone. Different purposes give independent random streams."""
    digest = hashlib.sha256("\0".join(map(str, purpose)).encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8]) >> 1
