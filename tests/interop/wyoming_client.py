"""Streams a WAV file to a running earwitness with the reference implementation of Wyoming as the client, and checks what
comes back. Not run by `make test`, which speaks the protocol by itself; by hand:

    python3 -m venv /somewhere && /somewhere/bin/pip install wyoming==1.10.2
    earwitness run -c with-a-wyoming-stream.toml &
    /somewhere/bin/python tests/interop/wyoming_client.py 127.0.0.1:10700 some.wav

Ends with 0 and one line a check, or with the check that failed.
"""

import argparse
import asyncio
import wave

from wyoming.audio import AudioChunk, AudioStart, AudioStop, wav_to_chunks
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.ping import Ping, Pong


async def answer(client):
    event = await asyncio.wait_for(client.read_event(), timeout=5)
    assert event is not None, "the connection was closed"
    return event


async def play(client, path):
    with wave.open(path, "rb") as file:
        pieces = wav_to_chunks(file, samples_per_chunk=1024, start_event=True, stop_event=True)
        for piece in pieces:
            await client.write_event(piece.event())


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="host:port of the stream")
    parser.add_argument("wav", help="what to play")
    arguments = parser.parse_args()
    host, _, port = arguments.address.rpartition(":")

    async with AsyncTcpClient(host, int(port)) as client:
        await client.write_event(Describe().event())
        event = await answer(client)
        assert Info.is_type(event.type), event
        info = Info.from_event(event)
        print("describe: info with", sum(map(len, (info.asr, info.tts, info.wake, info.mic, info.snd))), "services")

        await client.write_event(Ping(text="there?").event())
        event = await answer(client)
        assert Pong.is_type(event.type) and Pong.from_event(event).text == "there?", event
        print("ping: pong with the same text")

        start = AudioStart(rate=16000, width=2, channels=1)
        await client.write_event(start.event())
        await client.write_event(AudioChunk(rate=16000, width=2, channels=1, audio=bytes(2048)).event())
        async with AsyncTcpClient(host, int(port)) as second:
            await second.write_event(start.event())
            event = await answer(second)
            assert Error.is_type(event.type), event
            print("a second sender is told:", Error.from_event(event).text)
        await client.write_event(AudioStop().event())

        await play(client, arguments.wav)
        await client.write_event(Ping(text="done").event())
        # What is sent faster than it sounds is held up.
        event = await asyncio.wait_for(client.read_event(), timeout=120)
        assert event is not None and Pong.is_type(event.type), event
        print("audio: taken to its end, the connection stands")

    async with AsyncTcpClient(host, int(port)) as client:
        await client.write_event(AudioChunk(rate=16000, width=9, channels=1, audio=bytes(9)).event())
        event = await answer(client)
        assert Error.is_type(event.type), event
        print("a wrong width is told:", Error.from_event(event).text)
        assert await asyncio.wait_for(client.read_event(), timeout=5) is None, "expected the end"


asyncio.run(main())
