"""A client of the live feed with httpx-sse. It comes again with the last id until it is told that there is no more.

Usage: sse_client.py URL TOKEN. Prints the id of each event.
"""

import json
import sys
import time

import httpx
from httpx_sse import connect_sse

url, token = sys.argv[1:]
last = None
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    headers = {"Authorization": f"Bearer {token}"}
    if last is not None:
        headers["Last-Event-ID"] = last
    try:
        # What a proxy in the environment says is not for loopback.
        with httpx.Client(timeout=30, trust_env=False) as client:
            with connect_sse(client, "GET", url, headers=headers) as source:
                if source.response.status_code == 204:
                    sys.exit(0)
                if source.response.status_code == 200:
                    for event in source.iter_sse():
                        assert json.loads(event.data)["pos"] == event.id, event
                        last = event.id
                        print(last, flush=True)
    except httpx.TransportError:
        pass
    time.sleep(0.1)
sys.exit("the feed does not end")
