"""Names for JSON that has no model of its own: manifests as people wrote them, and objects of the API server.

Code that reads such an object checks what it takes from it and hands on something typed: `ObservedJob`, `Status`,
`Plan`. These two aliases mark the places where that has not happened yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]
"""A JSON object that its reader may change or hand on."""
RawJson = Mapping[str, Any]
"""A JSON object to read from."""
