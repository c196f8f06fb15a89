#!/usr/bin/env python3
"""A satellite: raw 16-bit PCM from standard input to earwitness, by Wyoming or RTP. Needs Python 3.8 and nothing else.

    arecord -q -t raw -f S16_LE -r 16000 -c 1 | ./satellite.py wyoming 192.168.1.10
    arecord -q -t raw -f S16_LE -r 16000 -c 1 | ./satellite.py rtp 192.168.1.10

Wyoming: whatever is lost while the connection is down or too slow is told by the timestamps; it reconnects by itself.
RTP: nothing waits for anything, and what the network loses is lost; earwitness tells how much.
"""

import argparse
import array
import collections
import json
import random
import select
import socket
import struct
import sys
import threading
import time

RETRY_S = 2.0
# What may wait for a slow connection; then the oldest goes.
QUEUE_S = 3.0


def chunks(rate, channels, length_ms):
    """(index of the first frame, bytes) of standard input, cut into pieces of one length."""
    frames = rate * length_ms // 1000
    position = 0
    while True:
        piece = sys.stdin.buffer.read(frames * channels * 2)
        piece = piece[: len(piece) // (channels * 2) * channels * 2]
        if not piece:
            return
        yield position, piece
        position += len(piece) // (channels * 2)


class Queue:
    """Between the microphone, which does not wait, and the network, which does."""

    def __init__(self, places):
        self.pieces = collections.deque(maxlen=places)
        self.changed = threading.Condition()
        self.ended = False

    def fill(self, pieces):
        for piece in pieces:
            with self.changed:
                self.pieces.append(piece)
                self.changed.notify()
        with self.changed:
            self.ended = True
            self.changed.notify()

    def take(self):
        """The oldest piece; None at the end."""
        with self.changed:
            while not self.pieces and not self.ended:
                self.changed.wait()
            return self.pieces.popleft() if self.pieces else None


def event(kind, data, payload=b""):
    body = json.dumps(data).encode()
    line = {"type": kind, "version": "1.10.0", "data_length": len(body), "payload_length": len(payload)}
    return json.dumps(line).encode() + b"\n" + body + payload


def listen(connection):
    """Reads over what the other end says, and notices when it has gone."""
    while select.select([connection], [], [], 0)[0]:
        said = connection.recv(4096)
        if not said:
            raise ConnectionError("the other end closed the connection")
        if b'"error"' in said:
            print(f"satellite: {said.decode(errors='replace').strip()}", file=sys.stderr)


def wyoming(address, rate, channels):
    length_ms = 64
    queue = Queue(int(QUEUE_S * 1000 / length_ms))
    threading.Thread(target=queue.fill, args=(chunks(rate, channels, length_ms),), daemon=True).start()
    audio = {"rate": rate, "width": 2, "channels": channels}
    piece = queue.take()
    while piece is not None:
        try:
            with socket.create_connection(address, timeout=5) as connection:
                connection.sendall(event("audio-start", audio))
                while piece is not None:
                    position, payload = piece
                    stamp = position * 1000 // rate
                    connection.sendall(event("audio-chunk", {**audio, "timestamp": stamp}, payload))
                    listen(connection)
                    piece = queue.take()
                connection.sendall(event("audio-stop", {}))
        except OSError as error:
            print(f"satellite: {address[0]}:{address[1]}: {error}; trying again", file=sys.stderr)
            time.sleep(RETRY_S)


def rtp(address, rate, channels):
    family = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0][0]
    out = socket.socket(family, socket.SOCK_DGRAM)
    sequence, start, ssrc = random.getrandbits(16), random.getrandbits(32), random.getrandbits(32)
    for position, payload in chunks(rate, channels, 20):
        samples = array.array("h", payload)
        if sys.byteorder == "little":
            samples.byteswap()
        header = struct.pack("!BBHII", 0x80, 96, sequence, (start + position) & 0xFFFFFFFF, ssrc)
        try:
            out.sendto(header + samples.tobytes(), address)
        except OSError:
            pass  # As good as lost on the way.
        sequence = (sequence + 1) & 0xFFFF


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=["wyoming", "rtp"])
    parser.add_argument("host", help="where earwitness runs: name or IPv4 address, with :port unless it is the default")
    parser.add_argument("--rate", type=int, default=16000, help="samples a second (16000)")
    parser.add_argument("--channels", type=int, default=1, help="interleaved channels (1)")
    arguments = parser.parse_args()
    host, _, port = arguments.host.partition(":")
    send, default = {"wyoming": (wyoming, 10700), "rtp": (rtp, 5004)}[arguments.protocol]
    try:
        send((host, int(port or default)), arguments.rate, arguments.channels)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
