"""Checks what earwitness announces against Home Assistant's own code: schemas, templates, discovery topics, automations.

    python home_assistant_oracle.py discovery.json automations.yaml

Needs the package `homeassistant` (and what its MQTT integration imports: paho-mqtt, hassil, ...). Prints what was checked; any
mismatch is an exception.
"""

import asyncio
import importlib
import json
import re
import sys
import tempfile

import yaml
from homeassistant import core
from homeassistant.components.mqtt import discovery
from homeassistant.components.mqtt.schemas import DEVICE_DISCOVERY_SCHEMA
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers import template

EVENT = {
    "schema": 1,
    "id": {"node": "home", "stream": "kitchen", "epoch": 1, "sequence": 2},
    "time": "2026-11-23T08:30:00.250Z",
    "start_s": 1.5,
    "end_s": 4.5,
    "lag_ms": 312.25,
    "since_s": 1.5,
}
STATE = {"source": "up", "speaking": True, "speaker": "alice", "speaker_verdict": "accept", "spoof_verdict": "reject"}
# Entity, message on its state topic, what Home Assistant makes of it (of an event: its type).
RENDERED = [
    ("speaker", STATE, "alice"),
    ("speaker", STATE | {"speaker_verdict": "reject"}, "stranger"),
    ("speaker", STATE | {"speaker_verdict": "inconclusive"}, "uncertain"),
    ("speaker", STATE | {"speaking": False}, "nobody"),
    ("speaker", STATE | {"speaking": None, "speaker": None}, "nobody"),
    ("speaking", STATE, "ON"),
    ("speaking", STATE | {"speaking": None}, "OFF"),
    ("source", STATE, "ON"),
    ("source", STATE | {"source": "down"}, "OFF"),
    ("deepfake", STATE, "ON"),
    ("deepfake", STATE | {"speaking": False}, "OFF"),
    ("deepfake", STATE | {"spoof_verdict": "accept"}, "OFF"),
    ("level", {"level_dbfs": -24.5}, "-24.5"),
    # Home Assistant's word for a sensor that is not known.
    ("level", {"level_dbfs": None}, "None"),
    ("lag", {"lag_ms": 312.0}, "312.0"),
    ("mute", {"muted": True}, "ON"),
    ("margin", {"speaker": {"margin": 0.85}}, "0.85"),
    ("enrolment", {"phase": "listening", "name": "alice", "speech_s": 4.0}, "listening"),
    ("enrolment_name", {"phase": "idle", "name": None}, ""),
    ("enrolment_name", {"phase": "refused", "name": "alice"}, "alice"),
    ("speaker_event", EVENT | {"type": "speaker", "speaking": True, "verdict": "accept"}, "started"),
    ("speaker_event", EVENT | {"type": "speaker", "speaking": False, "verdict": "inconclusive"}, "stopped"),
    ("verification", EVENT | {"type": "speaker", "speaking": True, "verdict": "accept"}, "accept"),
    ("verification", EVENT | {"type": "speaker", "speaking": False, "verdict": "inconclusive"}, None),
    ("spoof", EVENT | {"type": "spoof", "verdict": "reject", "llr": -3.5}, "reject"),
    ("sound", EVENT | {"type": "sound", "class": "music", "on": True, "probability": 0.8}, "music"),
    ("sound", EVENT | {"type": "sound", "class": "music", "on": False, "probability": 0.1}, None),
]


def strictly(platform, config):
    """The schema that knows no key which it does not use; discovery itself drops those without a word."""
    module = importlib.import_module(f"homeassistant.components.mqtt.{platform}")
    without = {key: value for key, value in config.items() if key != "platform"}
    module.DISCOVERY_SCHEMA(dict(without))
    return module.PLATFORM_SCHEMA_MODERN(without)


def render(hass, text, **values):
    return template.Template(text, hass).async_render(values, parse_result=False)


async def check(announced, automations):
    hass = core.HomeAssistant(tempfile.mkdtemp())
    template.async_setup(hass) if hasattr(template, "async_setup") else None
    entities, platforms = 0, {}
    for topic, device in announced.items():
        prefix, rest = topic.split("/", 1)
        match = discovery.TOPIC_MATCHER.match(rest)
        assert prefix == "homeassistant" and match and match["component"] == "device", topic
        DEVICE_DISCOVERY_SCHEMA(json.loads(json.dumps(device)))
        for name, component in device["components"].items():
            component = dict(component)
            if len(component) == 1:
                continue  # Removed.
            discovery._merge_common_device_options(component, device)
            component |= {"device": device["device"], "origin": device["origin"]}
            strictly(component["platform"], component)
            entities += 1
            platforms[component["platform"]] = platforms.get(component["platform"], 0) + 1
    kitchen = announced["homeassistant/device/home/stream-kitchen/config"]
    for name, message, expected in RENDERED:
        component = kitchen["components"][name]
        found = render(hass, component["value_template"], value=json.dumps(message), value_json=message)
        if component["platform"] == "event":
            found = json.loads(found)["event_type"] if found else None
            assert found is None or found in component["event_types"], found
        assert found == expected, f"{name} of {message}: expected {expected}, found {found}"
    available = kitchen["availability"][1]
    for source, expected in [("up", "online"), ("down", "offline"), (None, "offline")]:
        assert render(hass, available["value_template"], value_json={"source": source}) == expected
    margin = kitchen["components"]["margin"]
    command = json.loads(render(hass, margin["command_template"], value=1.25))
    assert command == {"stream": "kitchen", "speaker": {"margin": 1.25}}, command
    name = kitchen["components"]["enrolment_name"]
    command = json.loads(render(hass, name["command_template"], value="alice.b-2"))
    assert command == {"stream": "kitchen", "name": "alice.b-2", "start": False}, command
    assert re.fullmatch(name["pattern"], "alice.b-2") and re.fullmatch(name["pattern"], "")
    assert not re.fullmatch(name["pattern"], 'a"b')
    button = kitchen["components"]["enrol"]
    assert json.loads(button["payload_press"]) == {"stream": "kitchen"}
    assert button["command_topic"] == name["command_topic"] == "earwitness/home/from/home-assistant/command/enrol"
    button = kitchen["components"]["enrolment_cancel"]
    assert json.loads(button["payload_press"]) == {"stream": "kitchen"}
    assert button["command_topic"] == "earwitness/home/from/home-assistant/command/cancel"
    for automation in automations:
        cv.SCRIPT_SCHEMA(automation["actions"])
        cv.CONDITIONS_SCHEMA(automation.get("conditions", []))
        cv.TRIGGER_SCHEMA(automation["triggers"])
    await hass.async_stop(force=True)
    return entities, platforms


def main():
    announced = json.load(open(sys.argv[1], encoding="utf-8"))
    automations = yaml.safe_load(open(sys.argv[2], encoding="utf-8"))
    entities, platforms = asyncio.run(check(announced, automations))
    from homeassistant.const import __version__

    kinds = ", ".join(f"{count} {platform}" for platform, count in sorted(platforms.items()))
    print(
        f"Home Assistant {__version__}: {len(announced)} devices, {entities} entities accepted ({kinds}), "
        f"{len(RENDERED) + 5} templates rendered as meant, {len(automations)} automations valid"
    )


main()
