"""How a call of an engine ended: numbers that compiled code gives back, and every other engine too."""

from __future__ import annotations

OK, NOT_YET, BAD_READING, BAD_STATE, BAD_INDEX = range(5)
