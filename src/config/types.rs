//! The shape of a configuration. Ranges stand in the schema attributes for people and editors; `validate` enforces them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole configuration of a daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this daemon in topics and event ids: `[a-zA-Z0-9_-]+`.
    #[serde(default = "super::defaults::node")]
    #[schemars(regex(pattern = "^[a-zA-Z0-9_-]+$"))]
    pub node: String,
    /// Model pack, runtime, provider.
    #[serde(default)]
    pub models: Models,
    /// What is listened to. Ids are unique and never change.
    #[serde(default, rename = "stream")]
    pub streams: Vec<Stream>,
    /// How a stream is cut into windows.
    #[serde(default)]
    pub window: Window,
    /// Speaker verification.
    #[serde(default)]
    pub speaker: Speaker,
    /// Deepfake detection.
    #[serde(default)]
    pub spoof: Spoof,
    /// What else is heard.
    #[serde(default)]
    pub sound: Sound,
    /// Whether what is heard and what hears it are in order.
    #[serde(default)]
    pub health: Health,
    /// MQTT; absent: not published there.
    #[serde(default)]
    pub mqtt: Option<Mqtt>,
    /// Home Assistant's discovery over MQTT; of no use without `[mqtt]`.
    #[serde(default)]
    pub home_assistant: HomeAssistant,
    /// Events as JSON lines; absent: not written.
    #[serde(default)]
    pub jsonl: Option<Jsonl>,
}

/// Model pack, runtime, provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Models {
    /// Folder of the model pack.
    pub pack: PathBuf,
    /// Public keys (PEM files) of those whose packs are loaded; the pack that the program was built with needs none
    /// (docs/pack.md).
    pub trusted_keys: Vec<PathBuf>,
    /// Whether a pack is loaded that nobody vouches for, with a warning. Whoever made it decides what is heard.
    pub allow_unsigned: bool,
    /// The ONNX Runtime shared library; empty: `EARWITNESS_ORT`, then `.deps/`, then the system's.
    pub runtime: Option<PathBuf>,
    /// Where the models run.
    pub provider: Provider,
    /// Which of several GPUs, counted from 0.
    #[schemars(range(max = 63))]
    pub device_id: u16,
    /// Folder in which TensorRT keeps the engines that it compiles, which takes minutes; absent: it does so at each start.
    pub engine_cache: Option<PathBuf>,
    /// Numbers of the encoder's weights. Voices that were enrolled with one precision are not compared with the other's.
    pub precision: Precision,
    /// Inference threads, 0 to 256; 0: one a core, and four on a GPU: while one's batch runs others make features.
    #[schemars(range(max = 256))]
    pub workers: usize,
    /// Windows, of any streams, that run through the models together at most, 0 to 256; 0: on a GPU as many as there are
    /// streams, 8 to 32, on a CPU 4 of those that wait anyway (docs/gpu.md).
    #[schemars(range(max = 256))]
    pub batch: usize,
    /// Milliseconds that a window may wait for others to run with, 0 to 1000. It waits no longer than until each
    /// stream has one there.
    #[schemars(range(max = 1000))]
    pub batch_wait_ms: u64,
}

/// Where the models run.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The CPU.
    #[default]
    Cpu,
    /// CUDA, or an error at start.
    Cuda,
    /// The encoder on TensorRT and its heads on CUDA, or an error at start.
    Tensorrt,
    /// TensorRT where it works, else CUDA, else the CPU; what does not work is warned of.
    Auto,
}

/// Numbers of the encoder's weights.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floating point.
    #[default]
    Fp32,
    /// 8-bit integers, if the pack has such an encoder: smaller, faster on a CPU, a little less exact.
    Int8,
    /// 16-bit floating point, if the pack has such an encoder: for GPUs; a CPU computes it slowly.
    Fp16,
}

/// One thing that is listened to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Name in topics and events: `[a-zA-Z0-9_-]+`.
    #[schemars(regex(pattern = "^[a-zA-Z0-9_-]+$"))]
    pub id: String,
    /// Where its audio comes from.
    pub source: Input,
    /// Which channel, counted from 0; absent: all, mixed.
    #[serde(default)]
    #[schemars(range(max = 63))]
    pub channel: Option<u16>,
    /// Whether sounds are told apart on this stream; needs `sound.enabled` and a pack with a head for them.
    #[serde(default = "super::defaults::sound")]
    pub sound: bool,
}

/// Where audio comes from. Read through `RawInput`: a derived internally tagged enum would lose the positions of its
/// keys, and with them the line number in an error.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Input {
    /// A capture device.
    Mic {
        /// Exact name, or a pattern with `*`; absent: the system's default.
        #[serde(default)]
        device: Option<String>,
    },
    /// An audio file.
    File {
        /// Its path.
        path: PathBuf,
        /// Playback speed, 0 to 1000: 1 is real time, 0 as fast as the machine can.
        #[serde(default = "super::defaults::speed")]
        #[schemars(range(min = 0, max = 1000))]
        speed: f64,
    },
    /// Raw little-endian PCM on standard input.
    Stdin {
        /// Layout of the bytes.
        #[serde(default)]
        pcm: Pcm,
    },
    /// A program that writes raw little-endian PCM to its standard output.
    Command {
        /// Program and arguments; no shell is involved.
        #[schemars(length(min = 1))]
        argv: Vec<String>,
        /// Layout of the bytes.
        #[serde(default)]
        pcm: Pcm,
    },
    /// A Wyoming satellite, which connects to us by TCP.
    Wyoming {
        /// IP address and port to listen at. Nobody is asked for a password: keep it to loopback or a network that you trust.
        #[serde(default = "super::defaults::wyoming")]
        listen: SocketAddr,
    },
    /// Raw little-endian PCM of whoever connects to us by TCP.
    Tcp {
        /// IP address and port to listen at. Nobody is asked for a password: keep it to loopback or a network that you trust.
        #[serde(default = "super::defaults::tcp")]
        listen: SocketAddr,
        /// Layout of the bytes.
        #[serde(default)]
        pcm: Pcm,
    },
    /// RTP that is sent to us by UDP.
    Udp {
        /// IP address and port to listen at. Nobody is asked for a password: keep it to loopback or a network that you trust.
        #[serde(default = "super::defaults::udp")]
        listen: SocketAddr,
        /// What the dynamic payload type carries; the static ones, 10 and 11, are L16 at 44100 Hz in stereo and mono.
        #[serde(default)]
        encoding: Encoding,
        /// The dynamic payload type, 96 to 127.
        #[serde(default = "super::defaults::payload_type")]
        #[schemars(range(min = 96, max = 127))]
        payload_type: u8,
        /// Samples a second a channel of the dynamic payload type, in Hz, 1000 to 384000; absent: 16000 for L16. Opus is
        /// always 48000.
        #[serde(default)]
        #[schemars(range(min = 1000, max = 384_000))]
        rate: Option<u32>,
        /// Interleaved channels of the dynamic payload type, 1 to 64; 1 or 2 for Opus.
        #[serde(default = "super::defaults::channels")]
        #[schemars(range(min = 1, max = 64))]
        channels: u16,
        /// Milliseconds that a missing packet is waited for, 0 to 2000. What arrives in order does not wait.
        #[serde(default = "super::defaults::jitter_ms")]
        #[schemars(range(max = 2000))]
        jitter_ms: u64,
    },
    /// Audio frames that a Hermes satellite (Rhasspy) publishes over MQTT.
    Hermes {
        /// The satellite's `siteId`.
        #[serde(default = "super::defaults::site")]
        site: String,
        /// Broker of the satellite, `mqtt://host:1883`, without a password; absent: that of `[mqtt]`, with all that is
        /// set there.
        #[serde(default)]
        broker: Option<String>,
    },
}

/// How RTP carries samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Signed 16 bit, big-endian (RFC 3551).
    #[default]
    L16,
    /// Opus (RFC 7587).
    Opus,
}

/// Layout of raw PCM.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pcm {
    /// Samples a second a channel, in Hz, 1000 to 384000.
    #[schemars(range(min = 1000, max = 384_000))]
    pub rate: u32,
    /// Interleaved channels, 1 to 64.
    #[schemars(range(min = 1, max = 64))]
    pub channels: u16,
    /// Sample format.
    pub format: PcmFormat,
}

/// Sample format of raw PCM, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PcmFormat {
    /// Signed 16 bit.
    #[default]
    S16,
    /// 32-bit float, ±1.
    F32,
}

/// How a stream is cut into windows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Window {
    /// Seconds a window, context included: 1 to 10. The pack's heads are calibrated on one length.
    #[schemars(range(min = 1, max = 10))]
    pub length_s: f64,
    /// Seconds from one window to the next: 0.1 to `length_s`.
    #[schemars(range(min = 0.1, max = 10))]
    pub hop_s: f64,
    /// Least share of speech in a window that reaches the heads, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub min_speech: f64,
    /// Windows that may wait for inference, a stream: 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub queue: usize,
}

/// Speaker verification: thresholds follow from a prior and costs, never from a paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Speaker {
    /// Database file of enrolled people, encrypted.
    pub store: PathBuf,
    /// File with the key that the store is encrypted with: 32 bytes or 64 hexadecimal digits. Absent: the systemd credential
    /// `earwitness.key`, else a passphrase, else a key file beside the store (`speakers.key`), which is made on first use.
    pub key_file: Option<PathBuf>,
    /// File whose first line is a passphrase to encrypt the store with; `EARWITNESS_PASSPHRASE` comes before it. Counts where
    /// there is neither `key_file` nor a credential.
    pub passphrase_file: Option<PathBuf>,
    /// Days for which a sitting is kept unless `enroll --keep-days` says otherwise, 1 to 36500: then it is no longer matched,
    /// and it is deleted at the next write. Absent: for ever.
    #[schemars(range(min = 1, max = 36_500))]
    pub keep_days: Option<u32>,
    /// Prior and costs of the accept decision: target = the claimed person speaks.
    pub decision: Decision,
}

/// Deepfake detection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Spoof {
    /// Whether it runs.
    pub enabled: bool,
    /// Prior and costs: target = the voice is bona fide.
    pub decision: Decision,
}

/// What else is heard: classes of sounds, if the pack has a head for them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sound {
    /// Whether it runs, on the streams that do not switch it off.
    pub enabled: bool,
    /// A class is heard from this probability on, 0.01 to 1.
    #[schemars(range(min = 0.01, max = 1))]
    pub on: f64,
    /// A class that was heard is no longer below this probability, 0 to `on`.
    #[schemars(range(min = 0, max = 1))]
    pub off: f64,
    /// Windows running that must agree before it counts, 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub min_windows: u32,
}

/// Whether what is heard and what hears it are in order (docs/health.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Whether streams and the encoder are watched.
    pub enabled: bool,
    /// Seconds of samples that stand still or repeat until a microphone counts as stuck, 1 to 3600.
    #[schemars(range(min = 1, max = 3600))]
    pub stuck_s: f64,
    /// The encoder counts as collapsed below this share of the effective rank that its pack states, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub rank_share: f64,
    /// When verify and detect ask how an accepted score holds under small changes, 16 more runs of the models.
    pub neighbours: Neighbours,
}

/// When the neighbourhood of a recording is looked at.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Neighbours {
    /// Only with `--check-neighbours`.
    #[default]
    Never,
    /// Where an accepted score lies less than 3 nats above its threshold.
    Near,
    /// With each acceptance.
    Always,
}

/// A decision on a log-likelihood ratio (natural logarithm): a Bayes decision with an inconclusive band around the threshold
/// `ln(cost_false_accept · (1 − prior) / (cost_miss · prior))`, or one that keeps stated error rates (docs/decisions.md).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decision {
    /// Prior probability of the target hypothesis, inside (0, 1).
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub prior: f64,
    /// Cost of rejecting a target, > 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub cost_miss: f64,
    /// Cost of accepting a non-target, > 0.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub cost_false_accept: f64,
    /// Half width of the inconclusive band, in nats, ≥ 0.
    #[schemars(range(min = 0))]
    pub margin: f64,
    /// Instead of prior and costs, of speakers only: with which probability a stranger may be accepted, inside (0, 0.5].
    #[schemars(range(max = 0.5), extend("exclusiveMinimum" = 0))]
    pub target_far: Option<f64>,
    /// Beside `target_far`: with which probability the right person may be rejected, inside (0, 0.5]. Absent: as often, live; in a
    /// recording, the inconclusive band lies below the bound of acceptance and is two margins wide.
    #[schemars(range(max = 0.5), extend("exclusiveMinimum" = 0))]
    pub target_frr: Option<f64>,
}

/// MQTT publishing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mqtt {
    /// `mqtt://host:1883` or `mqtts://host:8883`; the ports shown are the defaults.
    #[schemars(regex(pattern = "^mqtts?://"))]
    pub broker: String,
    /// First level of every topic.
    pub prefix: String,
    /// Client id, unique at the broker; absent: `earwitness-<node>`.
    pub client_id: Option<String>,
    /// User name at the broker.
    pub username: Option<String>,
    /// File whose first line is the password; absent: the environment variable `EARWITNESS_MQTT_PASSWORD`.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authority that signed the broker's certificate; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our own certificate, for brokers that ask for one; needs `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// The key that belongs to `client_cert_file`.
    pub client_key_file: Option<PathBuf>,
    /// Protocol: 4 is MQTT 3.1.1, which every broker speaks; 5 is MQTT 5, by which a broker tells which events it refuses.
    #[schemars(range(min = 4, max = 5))]
    pub version: u8,
    /// Seconds between signs of life to the broker, 1 to 65535, with `version = 5` at least 5.
    #[schemars(range(min = 1, max = 65_535))]
    pub keep_alive_s: u64,
    /// Database file in which events wait until the broker has them; absent: `outbox.redb` beside `speaker.store`. One
    /// for each daemon.
    pub outbox: Option<PathBuf>,
    /// Megabytes (10⁶ bytes) of events that may wait there, 0 to 100000; the oldest goes first, counted. 0: no outbox,
    /// events wait in memory only and end with the process.
    #[schemars(range(max = 100_000))]
    pub outbox_max_mb: u64,
    /// Hours that an event may wait there, 1 to 8760; an older one goes, counted.
    #[schemars(range(min = 1, max = 8_760))]
    pub outbox_max_age_h: u64,
    /// Events held in memory while neither broker nor outbox has them, 1 to 1000000; the oldest goes first, counted.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub backlog: usize,
    /// Seconds between the messages that tell level, lag and health, 1 to 3600.
    #[schemars(range(min = 1, max = 3600))]
    pub vitals_s: u64,
    /// Commands that are taken over MQTT.
    pub commands: Commands,
}

/// Commands that are taken over MQTT. The daemon cannot see who sends one: that is what the broker's access list is for
/// (docs/mqtt.md).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Commands {
    /// Verbs (`mute`, `unmute`, `set`, `verify`) that anybody may use who may publish to `<prefix>/<node>/command/…`; `enrol`,
    /// `cancel` and `forget` are for named clients only.
    pub allow: Vec<Verb>,
    /// Verbs for those who publish to `<prefix>/<node>/from/<client>/command/…`, by client:
    /// `clients = { panel = ["verify"] }`.
    pub clients: BTreeMap<String, Vec<Verb>>,
    /// Commands a minute, of all together, 0 to 6000; 0: none are listened to.
    #[schemars(range(max = 6000))]
    pub per_minute: u32,
}

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Drop a stream's audio unheard.
    Mute,
    /// Listen again.
    Unmute,
    /// Change prior, costs or margin of a stream's decisions.
    Set,
    /// Tell what stands.
    Verify,
    /// Enrol a person from a stream.
    Enrol,
    /// End an enrolment that is under way; whoever may enrol may also do that.
    Cancel,
    /// Forget an enrolled person.
    Forget,
}

/// Home Assistant's discovery over MQTT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HomeAssistant {
    /// Whether devices are announced. Where nobody listens, a few retained messages lie at the broker.
    pub enabled: bool,
    /// Home Assistant's own discovery prefix.
    pub prefix: String,
    /// The client of `mqtt.commands.clients` as which Home Assistant gives its commands; absent: like anybody. Needed to enrol
    /// from there.
    pub client: Option<String>,
}

/// Events as JSON lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jsonl {
    /// A file that is appended to, or `-` for standard output.
    pub path: PathBuf,
}
