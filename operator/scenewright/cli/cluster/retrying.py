"""``scenewright retry`` of an object in a cluster: a new token in an annotation, so that Git's spec stays as it is."""

from __future__ import annotations

import secrets
import time

from scenewright.cli.cluster.access import Place, connect
from scenewright.cli.cluster.references import parse
from scenewright.cli.errors import print_json, refuse
from scenewright.planning.problems import SpecError

RETRY_ANNOTATION = "scenewright.io/retry"


def retry_object(target: str, place: Place, as_json: bool) -> int:
    """Asks the operator to try again what failed; what is done is not made again."""
    token = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(2)}"
    try:
        reference = parse(target)
        cluster = connect(place)
        raw = cluster.annotate(reference, {RETRY_ANNOTATION: token})
    except SpecError as error:
        return refuse(error, as_json)
    if as_json:
        print_json({"kind": reference.kind, "name": reference.name, "namespace": cluster.namespace, "token": token})
        return 0
    print(f"{reference}: what failed is tried again (token {token})")
    if raw.get("spec", {}).get("suspend"):
        print("it is suspended: nothing runs before spec.suspend is false")
    return 0
