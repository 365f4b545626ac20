"""Holds replicas of views of a Tailgate gateway, as PROTOCOL.md says, with nothing but Python's standard library.

    python replica_client.py HOST PORT VIEWS

VIEWS is a JSON list of objects with the members of a `subscribe`: interface, filter, fields. Each has a connection of its
own. For each line on standard input the state of all replicas is printed as one line of JSON; at its end the program ends.
"""

import base64
import hashlib
import json
import os
import random
import socket
import struct
import sys
import threading
import time

GREETING = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# Codes after which a client must not come back by itself (C12).
FINAL = {4400, 4401, 4403, 4406, 4413}


class Closed(Exception):
    def __init__(self, code):
        super().__init__(f"closed with {code}")
        self.code = code


class WebSocket:
    """As much of RFC 6455 as a client needs."""

    def __init__(self, host, port, subprotocol):
        self.socket = socket.create_connection((host, port), timeout=5)
        # `progress` comes every 10 s, so that silence is a dead peer.
        self.socket.settimeout(30)
        self.buffer = b""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            "GET /ws HTTP/1.1",
            f"Host: {host}:{port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {subprotocol}",
        ]
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while b"\r\n\r\n" not in self.buffer:
            self.fill()
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        status, *fields = head.decode("latin1").split("\r\n")
        headers = {name.lower(): value.strip() for name, value in (field.split(":", 1) for field in fields)}
        accept = base64.b64encode(hashlib.sha1((key + GREETING).encode()).digest()).decode()
        if " 101 " not in status or headers.get("sec-websocket-accept") != accept:
            raise ConnectionError(f"no websocket: {status}")
        if headers.get("sec-websocket-protocol") != subprotocol:
            raise ConnectionError("another subprotocol")

    def fill(self):
        chunk = self.socket.recv(65536)
        if not chunk:
            raise Closed(1006)
        self.buffer += chunk

    def exactly(self, count):
        while len(self.buffer) < count:
            self.fill()
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def send(self, opcode, payload):
        length = len(payload)
        if length < 126:
            head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
        elif length < 65536:
            head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        self.socket.sendall(head + mask + masked)

    def receive(self):
        """The next message's text; pings are answered meanwhile."""
        text = b""
        while True:
            first, second = self.exactly(2)
            opcode, length = first & 0x0F, second & 0x7F
            if length == 126:
                (length,) = struct.unpack("!H", self.exactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", self.exactly(8))
            payload = self.exactly(length)
            if opcode == 8:
                raise Closed(struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005)
            if opcode == 9:
                self.send(10, payload)
            elif opcode in (0, 1):
                text += payload
                if first & 0x80:
                    return text.decode()

    def close(self):
        self.socket.close()


class Replica:
    def __init__(self, host, port, wanted):
        self.address = (host, port)
        self.wanted = wanted
        self.lock = threading.Lock()
        self.rows = {}
        self.position = None
        self.view = None
        self.ready = False
        self.clear_first = True
        self.subscription = 0
        self.resets = []
        self.faults = []
        self.recoveries = 0
        self.connections = 0
        self.changes = 0

    def state(self):
        with self.lock:
            return {
                name: getattr(self, name)
                for name in (
                    "rows",
                    "position",
                    "view",
                    "ready",
                    "resets",
                    "faults",
                    "recoveries",
                    "connections",
                    "changes",
                )
            }

    def run(self):
        pause = 0.5
        while True:
            code = 1006
            began = self.connections
            try:
                self.connect()
            except Closed as closed:
                code = closed.code
            except OSError:
                pass
            with self.lock:
                worked, self.ready = self.connections > began, False
                if code in FINAL:
                    self.faults.append(f"closed with {code}")
                    return
            if worked:
                pause = 0.5
            time.sleep(random.random() if code == 1001 else pause * (0.5 + random.random() / 2))
            pause = min(pause * 2, 30)

    def connect(self):
        connection = WebSocket(*self.address, "tailgate.v1")
        try:
            self.subscribe(connection)
            while True:
                message = json.loads(connection.receive())
                with self.lock:
                    again = self.take(message)
                if again == "after a pause":
                    time.sleep(1)
                if again:
                    self.subscribe(connection)
        finally:
            connection.close()

    def subscribe(self, connection):
        with self.lock:
            if self.ready:
                connection.send(1, json.dumps({"type": "unsubscribe", "id": self.subscription}).encode())
            self.ready = False
            self.subscription += 1
            message = {"type": "subscribe", "id": self.subscription, **self.wanted}
            self.clear_first = self.position is None
            if self.position is not None:
                message.update(since=self.position, view=self.view)
        connection.send(1, json.dumps(message).encode())

    def take(self, message):
        """Applies a message; what it returns says whether to subscribe again."""
        kind = message.get("type")
        if kind is None:
            return self.change(message)
        if kind == "welcome":
            self.connections += 1
        elif kind in ("progress", "pong"):
            if self.ready and message["position"] > self.position:
                self.position = message["position"]
        elif message.get("id") != self.subscription:
            pass
        elif kind == "snapshot":
            if self.ready:
                self.faults.append("rows after ready")
            if self.clear_first:
                self.rows = {}
            self.clear_first = False
            self.position = None
            for row in message["data"]:
                self.rows[key(row["id"])] = row
        elif kind == "ready":
            if message["recovered"]:
                self.recoveries += 1
                if message["position"] != self.position or message["view"] != self.view:
                    self.faults.append(f"recovered, but at {message}, not {self.position} of {self.view}")
            elif self.clear_first:
                self.faults.append("ready without rows")
            self.ready = True
            self.clear_first = False
            self.view = message["view"]
            self.position = message["position"]
        elif kind == "reset":
            self.resets.append(message["reason"])
            self.ready = False
            self.clear_first = True
            self.position = None
        elif kind == "error":
            self.ready = False
            if message["status"] == 503:
                return "after a pause"
            self.faults.append(f"error {message['code']}")
        return None

    def change(self, message):
        if not self.ready or message["view"] != self.view or message["position"] <= self.position:
            return None
        if message["previous"] > self.position:
            self.faults.append(f"missed: {message['previous']} after {self.position}")
            return "now"
        self.position = message["position"]
        self.changes += 1
        if message["operation"] == "delete":
            for each in message["data"]:
                self.rows.pop(key(each), None)
        else:
            self.rows[key(message["data"]["id"])] = message["data"]
        return None


def key(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def main():
    host, port, views = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
    replicas = [Replica(host, port, view) for view in views]
    for replica in replicas:
        threading.Thread(target=replica.run, daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps([replica.state() for replica in replicas]), flush=True)


if __name__ == "__main__":
    main()
