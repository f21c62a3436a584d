"""A receiver for the tests of HTTP push: verifies each request with standardwebhooks, and prints ids.

Usage: receiver.py SECRET. Prints its port first, then for each event: id, or "BAD reason".
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook

webhook = Webhook(sys.argv[1])


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        status = 204
        try:
            event = webhook.verify(body, dict(self.headers))
            events = event["data"] if event["type"] == "batch" else [event]
            for event in events:
                print(event["id"], flush=True)
        except Exception as error:
            status = 401
            print("BAD", repr(error), json.dumps(dict(self.headers)), flush=True)
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
