"""Receives Goldsmith's webhooks with nothing but the standard library: WEBHOOK_SECRET=whsec_… python webhook_receiver.py"""

import base64
import hashlib
import hmac
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def verify(secret, headers, body):
    """The message, or ValueError: not signed with the secret, or older than five minutes (somebody plays it back)."""
    message_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > 300:
        raise ValueError("too old")
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)).decode()
    given = headers["webhook-signature"].split(" ")  # two of them while a secret is being rotated
    if not any(hmac.compare_digest(f"v1,{signature}", one) for one in given):
        raise ValueError("wrong signature")
    return json.loads(body)


SEEN = set()  # yours is a table: the same id may come again, when your answer got lost on its way


class Handler(BaseHTTPRequestHandler):
    secret = os.environ.get("WEBHOOK_SECRET", "")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            message = verify(self.secret, self.headers, body)
        except (ValueError, TypeError):
            return self.send_error(401)
        if self.headers["webhook-id"] not in SEEN:
            SEEN.add(self.headers["webhook-id"])
            print(message["type"], message["data"])  # answer quickly: work that takes long belongs into a queue of yours
        self.send_response(204)
        return self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 8008), Handler).serve_forever()
