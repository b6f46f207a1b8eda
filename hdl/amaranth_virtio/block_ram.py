"""Attributes of memories."""

__all__ = ["NO_COLLISION"]

#: For memories of which no word is read, for any use, in the cycle in which it is written: block RAM leaves
#: open what comes then, and what makes up for that is as large as the word, and stands behind the outputs.
NO_COLLISION = {"no_rw_check": 1}
