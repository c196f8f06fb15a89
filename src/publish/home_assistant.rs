//! Home Assistant's discovery over MQTT: one retained message for the daemon and one for each stream, each describing a
//! device with all its entities. Pure: names in, topics and payloads out.
//!
//! What is announced follows what others were bitten by: each stream has a state topic of its own, so that one that is
//! not known resets no other; entities are available only while daemon and source are; an alarm ends by itself
//! (`off_delay`), and is unknown when nothing is heard of it any more (`expire_after`).

use serde_json::{Value, json};

use super::enrolment::Phase;
use super::event::{SourceState, Verdict};
use super::mqtt::{TopicError, Topics};
use crate::config::{self, Verb};

/// A daemon as Home Assistant sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Home {
    /// Name of the daemon.
    pub node: String,
    /// The streams, and whether sounds are told apart on them.
    pub streams: Vec<(String, bool)>,
    /// Names of the classes of sounds.
    pub sounds: Vec<String>,
    /// Seconds between two signs of life of each stream.
    pub vitals_s: u64,
    /// The client as which Home Assistant gives its commands; absent: as anybody.
    pub client: Option<String>,
    /// Verbs that it may use; a button that would be refused is not shown.
    pub verbs: Vec<Verb>,
}

/// Topic on which Home Assistant says that it has started.
pub fn status_topic(config: &config::HomeAssistant) -> String {
    format!("{}/status", config.prefix)
}

/// Retained topics and their payloads.
///
/// # Errors
/// When a name cannot be part of a topic.
pub fn announcements(
    config: &config::HomeAssistant,
    home: &Home,
    topics: &Topics,
) -> Result<Vec<(String, Value)>, TopicError> {
    let topic = |object: &str| format!("{}/device/{}/{object}/config", config.prefix, home.node);
    let mut all = vec![(topic("node"), node(home, topics))];
    for (stream, sound) in &home.streams {
        let device = device(home, topics, stream, *sound)?;
        // A stream may be called `node`.
        all.push((topic(&format!("stream-{stream}")), device));
    }
    Ok(all)
}

fn origin() -> Value {
    json!({ "name": "earwitness", "sw_version": env!("CARGO_PKG_VERSION") })
}

fn daemon_available(topics: &Topics) -> Value {
    json!({
        "topic": topics.status(),
        "payload_available": "online",
        "payload_not_available": super::mqtt::OFFLINE,
    })
}

/// The entities of the daemon itself.
fn node(home: &Home, topics: &Topics) -> Value {
    let vitals = topics.vitals();
    let unique = |name: &str| format!("{}/{name}", topics.base());
    let entity = |name: &str| slug(&format!("earwitness_{}_{name}", home.node));
    let expire = 4 * home.vitals_s;
    let number = |key: &str, name: &str, unit: Option<&str>, icon: &str| {
        let mut sensor = json!({
            "platform": "sensor",
            "unique_id": unique(key),
            "default_entity_id": format!("sensor.{}", entity(key)),
            "name": name,
            "state_topic": vitals,
            "value_template": format!("{{{{ value_json.{key} }}}}"),
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "expire_after": expire,
            "icon": icon,
        });
        if let Some(unit) = unit {
            sensor["unit_of_measurement"] = unit.into();
        }
        sensor
    };
    json!({
        "device": {
            "identifiers": [topics.base()],
            "name": format!("earwitness {}", home.node),
            "manufacturer": "earwitness",
            "model": "daemon",
            "sw_version": env!("CARGO_PKG_VERSION"),
        },
        "origin": origin(),
        "availability": [daemon_available(topics)],
        "availability_mode": "all",
        "components": at_least_once(json!({
            "trouble": {
                "platform": "binary_sensor",
                "unique_id": unique("trouble"),
                "default_entity_id": format!("binary_sensor.{}", entity("trouble")),
                "name": "Trouble",
                "device_class": "problem",
                "entity_category": "diagnostic",
                "state_topic": vitals,
                "value_template": "{{ 'ON' if value_json.trouble else 'OFF' }}",
                "json_attributes_topic": vitals,
                "expire_after": expire,
            },
            "lag": {
                "platform": "sensor",
                "unique_id": unique("lag"),
                "default_entity_id": format!("sensor.{}", entity("lag")),
                "name": "Lag",
                "device_class": "duration",
                "unit_of_measurement": "ms",
                "state_class": "measurement",
                "entity_category": "diagnostic",
                "state_topic": vitals,
                "value_template": "{{ value_json.lag_ms }}",
                "expire_after": expire,
            },
            "streams_up": number("streams_up", "Streams up", None, "mdi:microphone"),
            "pending": number("pending", "Events waiting", None, "mdi:tray-full"),
            "lost": number("lost", "Events lost", None, "mdi:tray-remove"),
        })),
    })
}

/// The entities of one stream.
fn device(home: &Home, topics: &Topics, stream: &str, sound: bool) -> Result<Value, TopicError> {
    let (state, vitals) = (topics.state(stream)?, topics.stream_vitals(stream)?);
    let settings = topics.settings(stream)?;
    let unique = |name: &str| format!("{}/{stream}/{name}", topics.base());
    let entity =
        |kind: &str, name: &str| slug(&format!("{kind}.earwitness_{}_{stream}_{name}", home.node));
    let expire = 4 * home.vitals_s;
    let up = kind_name(SourceState::Up);
    // What does not hang on the source: whether it is there, and how to unmute it.
    let daemon_only = json!([daemon_available(topics)]);
    let mut components = json!({
        "source": {
            "platform": "binary_sensor",
            "unique_id": unique("source"),
            "default_entity_id": entity("binary_sensor", "source"),
            "name": "Source",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": state,
            "value_template": format!("{{{{ 'ON' if value_json.source == '{up}' else 'OFF' }}}}"),
            "availability": daemon_only,
        },
        "speaking": {
            "platform": "binary_sensor",
            "unique_id": unique("speaking"),
            "default_entity_id": entity("binary_sensor", "speaking"),
            "name": "Speaking",
            "device_class": "sound",
            "state_topic": state,
            "value_template": "{{ 'ON' if value_json.speaking else 'OFF' }}",
            "expire_after": expire,
        },
        "speaker": {
            "platform": "sensor",
            "unique_id": unique("speaker"),
            "default_entity_id": entity("sensor", "speaker"),
            "name": "Speaker",
            "icon": "mdi:account-voice",
            "state_topic": state,
            "value_template": format!(
                "{{% if not value_json.speaking %}}nobody{{% elif value_json.speaker_verdict == '{accept}' \
                 %}}{{{{ value_json.speaker }}}}{{% elif value_json.speaker_verdict == '{reject}' \
                 %}}stranger{{% else %}}uncertain{{% endif %}}",
                accept = kind_name(Verdict::Accept),
                reject = kind_name(Verdict::Reject),
            ),
            "json_attributes_topic": state,
            "expire_after": expire,
        },
        "speaker_event": {
            "platform": "event",
            "unique_id": unique("speaker_event"),
            "default_entity_id": entity("event", "speaker"),
            "name": "Speaker",
            "icon": "mdi:account-voice",
            "event_types": ["started", "stopped"],
            "state_topic": topics.event(stream, SPEAKER)?,
            "value_template": "{{ dict(value_json, event_type = 'started' if value_json.speaking else 'stopped') | to_json }}",
        },
        "verification": {
            "platform": "event",
            "unique_id": unique("verification"),
            "default_entity_id": entity("event", "verification"),
            "name": "Verification",
            "icon": "mdi:account-check",
            "event_types": verdicts(),
            "state_topic": topics.event(stream, SPEAKER)?,
            // An empty text is no event.
            "value_template": "{% if value_json.speaking %}{{ dict(value_json, event_type = value_json.verdict) | to_json }}{% endif %}",
        },
        "spoof": {
            "platform": "event",
            "unique_id": unique("spoof"),
            "default_entity_id": entity("event", "spoof"),
            "name": "Voice checked",
            "icon": "mdi:robot",
            "event_types": verdicts(),
            "state_topic": topics.event(stream, SPOOF)?,
            "value_template": "{{ dict(value_json, event_type = value_json.verdict) | to_json }}",
        },
        "deepfake": {
            "platform": "binary_sensor",
            "unique_id": unique("deepfake"),
            "default_entity_id": entity("binary_sensor", "deepfake"),
            "name": "Deepfake alarm",
            "device_class": "safety",
            "state_topic": state,
            // Only while somebody speaks: a verdict must not outlive its voice.
            "value_template": format!(
                "{{{{ 'ON' if value_json.speaking and value_json.spoof_verdict == '{}' else 'OFF' }}}}",
                kind_name(Verdict::Reject)
            ),
            "off_delay": 3 * home.vitals_s,
            "expire_after": expire,
        },
        "level": {
            "platform": "sensor",
            "unique_id": unique("level"),
            "default_entity_id": entity("sensor", "level"),
            "name": "Level",
            "device_class": "sound_pressure",
            "unit_of_measurement": "dB",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "state_topic": vitals,
            "value_template": "{{ value_json.level_dbfs }}",
            "expire_after": expire,
        },
        "lag": {
            "platform": "sensor",
            "unique_id": unique("lag"),
            "default_entity_id": entity("sensor", "lag"),
            "name": "Lag",
            "device_class": "duration",
            "unit_of_measurement": "ms",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "state_topic": vitals,
            "value_template": "{{ value_json.lag_ms }}",
            "expire_after": expire,
        },
        "lost_samples": {
            "platform": "sensor",
            "unique_id": unique("lost_samples"),
            "default_entity_id": entity("sensor", "lost_samples"),
            "name": "Lost samples",
            "icon": "mdi:waveform",
            "state_class": "measurement",
            "entity_category": "diagnostic",
            "state_topic": vitals,
            "value_template": "{{ value_json.lost_samples }}",
            "expire_after": expire,
        },
    });
    // What an earlier run may have announced goes by the name of its platform alone.
    for (key, platform) in [
        ("sound", "event"),
        ("mute", "switch"),
        ("verify", "button"),
        ("margin", "number"),
        ("enrolment", "sensor"),
        ("enrolment_name", "text"),
        ("enrol", "button"),
        ("enrolment_cancel", "button"),
    ] {
        components[key] = json!({ "platform": platform });
    }
    if sound && !home.sounds.is_empty() {
        components["sound"] = json!({
            "platform": "event",
            "unique_id": unique("sound"),
            "default_entity_id": entity("event", "sound"),
            "name": "Sound",
            "icon": "mdi:ear-hearing",
            "event_types": home.sounds,
            "state_topic": topics.event(stream, SOUND)?,
            "value_template": "{% if value_json.on %}{{ dict(value_json, event_type = value_json.class) | to_json }}{% endif %}",
        });
    }
    let may = |verb| home.verbs.contains(&verb);
    let topic = |verb: Verb| topics.command_as(home.client.as_deref(), verb.name());
    let command = |fields: Value| {
        let mut payload = json!({ "stream": stream });
        if let (Some(all), Value::Object(more)) = (payload.as_object_mut(), fields) {
            all.extend(more);
        }
        payload.to_string()
    };
    if may(Verb::Mute) {
        components["mute"] = json!({
            "platform": "switch",
            "unique_id": unique("mute"),
            "default_entity_id": entity("switch", "mute"),
            "name": "Mute",
            "icon": "mdi:microphone-off",
            "entity_category": "config",
            "command_topic": topic(Verb::Mute)?,
            "payload_on": command(json!({ "muted": true })),
            "payload_off": command(json!({ "muted": false })),
            "state_topic": settings,
            "value_template": "{{ 'ON' if value_json.muted else 'OFF' }}",
            "state_on": "ON",
            "state_off": "OFF",
            "availability": daemon_only,
        });
    }
    if may(Verb::Verify) {
        components["verify"] = json!({
            "platform": "button",
            "unique_id": unique("verify"),
            "default_entity_id": entity("button", "verify"),
            "name": "Verify now",
            "icon": "mdi:account-search",
            "command_topic": topic(Verb::Verify)?,
            "payload_press": command(json!({})),
        });
    }
    if may(Verb::Set) {
        components["margin"] = json!({
            "platform": "number",
            "unique_id": unique("margin"),
            "default_entity_id": entity("number", "margin"),
            "name": "Verification margin",
            "icon": "mdi:arrow-expand-horizontal",
            "entity_category": "config",
            "min": 0,
            "max": 10,
            "step": 0.05,
            "mode": "box",
            "command_topic": topic(Verb::Set)?,
            "command_template": command(json!({ "speaker": { "margin": "{{ value }}" } }))
                .replace("\"{{ value }}\"", "{{ value }}"),
            "state_topic": settings,
            "value_template": "{{ value_json.speaker.margin }}",
            "availability": daemon_only,
        });
    }
    if may(Verb::Enrol) {
        let enrolment = topics.enrolment(stream)?;
        components["enrolment"] = json!({
            "platform": "sensor",
            "unique_id": unique("enrolment"),
            "default_entity_id": entity("sensor", "enrolment"),
            "name": "Enrolment",
            "icon": "mdi:account-plus-outline",
            "device_class": "enum",
            "options": phases(),
            "state_topic": enrolment,
            "value_template": "{{ value_json.phase }}",
            "json_attributes_topic": enrolment,
            "availability": daemon_only,
        });
        // Home Assistant gives a button no value: the name is kept here until it is pressed.
        components["enrolment_name"] = json!({
            "platform": "text",
            "unique_id": unique("enrolment_name"),
            "default_entity_id": entity("text", "enrolment_name"),
            "name": "Name to enrol",
            "icon": "mdi:rename",
            "entity_category": "config",
            "min": 0,
            "max": 64,
            "pattern": "^[A-Za-z0-9_.\\-]*$",
            "command_topic": topic(Verb::Enrol)?,
            "command_template": command(json!({ "start": false, "name": "{{ value }}" })),
            "state_topic": enrolment,
            "value_template": "{{ value_json.name or '' }}",
            "availability": daemon_only,
        });
        components["enrol"] = json!({
            "platform": "button",
            "unique_id": unique("enrol"),
            "default_entity_id": entity("button", "enrol"),
            "name": "Start enrolment",
            "icon": "mdi:account-plus",
            "entity_category": "config",
            "command_topic": topic(Verb::Enrol)?,
            "payload_press": command(json!({})),
        });
        // Also while the source is down: that may be why.
        components["enrolment_cancel"] = json!({
            "platform": "button",
            "unique_id": unique("enrolment_cancel"),
            "default_entity_id": entity("button", "enrolment_cancel"),
            "name": "Cancel enrolment",
            "icon": "mdi:account-cancel",
            "entity_category": "config",
            "command_topic": topic(Verb::Cancel)?,
            "payload_press": command(json!({})),
            "availability": daemon_only,
        });
    }
    Ok(json!({
        "device": {
            "identifiers": [unique("").trim_end_matches('/')],
            "name": format!("earwitness {} {stream}", home.node),
            "manufacturer": "earwitness",
            "model": "stream",
            "via_device": topics.base(),
        },
        "origin": origin(),
        "availability": [
            daemon_available(topics),
            {
                "topic": state,
                "value_template": format!(
                    "{{{{ 'online' if value_json.source == '{up}' else 'offline' }}}}"
                ),
                "payload_available": "online",
                "payload_not_available": "offline",
            },
        ],
        "availability_mode": "all",
        "components": at_least_once(components),
    }))
}

/// [`Body::kind`](super::Body::kind) of the events that entities listen to.
const SPEAKER: &str = "speaker";
const SPOOF: &str = "spoof";
const SOUND: &str = "sound";

/// A device's QoS is not passed on to its entities.
fn at_least_once(mut components: Value) -> Value {
    for entity in components
        .as_object_mut()
        .into_iter()
        .flat_map(|all| all.values_mut())
    {
        if entity.get("unique_id").is_some() {
            entity["qos"] = 1.into();
        }
    }
    components
}

/// As Home Assistant writes entity ids.
fn slug(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

/// The serialised name of a verdict or state.
fn kind_name(value: impl serde::Serialize) -> String {
    let name = serde_json::to_value(value).ok();
    name.and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn phases() -> Vec<String> {
    [
        Phase::Idle,
        Phase::Listening,
        Phase::Enrolled,
        Phase::Refused,
    ]
    .map(kind_name)
    .to_vec()
}

fn verdicts() -> Vec<String> {
    [Verdict::Accept, Verdict::Reject, Verdict::Inconclusive]
        .map(kind_name)
        .to_vec()
}

#[cfg(test)]
#[path = "home_assistant_tests.rs"]
mod tests;
