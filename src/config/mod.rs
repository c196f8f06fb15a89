//! Raw TOML to validated types. Every default of the daemon is here and nowhere else.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole configuration of a daemon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this daemon in topics and event ids: `[a-zA-Z0-9_-]+`.
    #[serde(default = "defaults::node")]
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
    /// MQTT; absent: not published there.
    #[serde(default)]
    pub mqtt: Option<Mqtt>,
    /// Events as JSON lines; absent: not written.
    #[serde(default)]
    pub jsonl: Option<Jsonl>,
}

/// Model pack, runtime, provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Models {
    /// Folder of the pack.
    pub pack: PathBuf,
    /// The ONNX Runtime shared library; empty: `EARWITNESS_ORT`, then `.deps/`, then the system's.
    pub runtime: Option<PathBuf>,
    /// Where the models run.
    pub provider: Provider,
    /// Inference threads; 0: one a core.
    pub workers: usize,
}

/// Where the models run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// The CPU.
    #[default]
    Cpu,
    /// CUDA, or an error at start.
    Cuda,
    /// CUDA where it works, else the CPU, and says which.
    Auto,
}

/// One thing that is listened to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Name in topics and events: `[a-zA-Z0-9_-]+`.
    pub id: String,
    /// Where its audio comes from.
    pub source: Input,
    /// Which channel; absent: all, mixed.
    #[serde(default)]
    pub channel: Option<u16>,
}

/// Where audio comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
        /// Playback speed: 1 is real time, 0 as fast as the machine can.
        #[serde(default = "defaults::speed")]
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
        argv: Vec<String>,
        /// Layout of the bytes.
        #[serde(default)]
        pcm: Pcm,
    },
}

/// Layout of raw PCM.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pcm {
    /// Hz, 1000 to 384000.
    pub rate: u32,
    /// Interleaved channels, 1 to 64.
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
    pub length_s: f64,
    /// Seconds from one window to the next: 0.1 to `length_s`.
    pub hop_s: f64,
    /// Least share of speech in a window that reaches the heads, 0 to 1.
    pub min_speech: f64,
    /// Windows that may wait for inference, a stream.
    pub queue: usize,
}

/// Speaker verification: thresholds follow from a prior and costs, never from a paper.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Speaker {
    /// Database file of enrolled people.
    pub store: PathBuf,
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

/// A Bayes decision on a log-likelihood ratio (natural logarithm) with an inconclusive band around the threshold
/// `ln(cost_false_accept · (1 − prior) / (cost_miss · prior))`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Decision {
    /// Prior probability of the target hypothesis, inside (0, 1).
    pub prior: f64,
    /// Cost of rejecting a target, > 0.
    pub cost_miss: f64,
    /// Cost of accepting a non-target, > 0.
    pub cost_false_accept: f64,
    /// Half width of the inconclusive band, in nats, ≥ 0.
    pub margin: f64,
}

/// MQTT publishing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Mqtt {
    /// `mqtt://host:1883` or `mqtts://host:8883`.
    pub broker: String,
    /// First level of every topic.
    pub prefix: String,
    /// Client id; absent: `earwitness-<node>`.
    pub client_id: Option<String>,
    /// User name.
    pub username: Option<String>,
    /// File whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// PEM file of the authority that signed the broker's certificate; absent: the system's.
    pub ca_file: Option<PathBuf>,
    /// PEM files of our own certificate and key, for brokers that ask for them.
    pub client_cert_file: Option<PathBuf>,
    /// See `client_cert_file`.
    pub client_key_file: Option<PathBuf>,
    /// Seconds.
    pub keep_alive_s: u64,
    /// Events held in memory while the broker is away; the oldest goes first, counted.
    pub backlog: usize,
}

/// Events as JSON lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jsonl {
    /// A file that is appended to, or `-` for standard output.
    pub path: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node: defaults::node(),
            models: Models::default(),
            streams: Vec::new(),
            window: Window::default(),
            speaker: Speaker::default(),
            spoof: Spoof::default(),
            mqtt: None,
            jsonl: None,
        }
    }
}

impl Default for Models {
    fn default() -> Self {
        Self {
            pack: "models/default".into(),
            runtime: None,
            provider: Provider::Cpu,
            workers: 0,
        }
    }
}

impl Default for Pcm {
    fn default() -> Self {
        Self {
            rate: 16_000,
            channels: 1,
            format: PcmFormat::S16,
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self {
            length_s: 3.0,
            hop_s: 1.0,
            min_speech: 0.5,
            queue: 8,
        }
    }
}

impl Default for Speaker {
    fn default() -> Self {
        Self {
            store: "speakers.redb".into(),
            decision: Decision::default(),
        }
    }
}

impl Default for Spoof {
    fn default() -> Self {
        Self {
            enabled: true,
            decision: Decision::default(),
        }
    }
}

impl Default for Decision {
    fn default() -> Self {
        Self {
            prior: 0.5,
            cost_miss: 1.0,
            cost_false_accept: 1.0,
            margin: 0.5,
        }
    }
}

impl Default for Mqtt {
    fn default() -> Self {
        Self {
            broker: "mqtt://localhost:1883".into(),
            prefix: "earwitness".into(),
            client_id: None,
            username: None,
            password_file: None,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            keep_alive_s: 15,
            backlog: 10_000,
        }
    }
}

mod defaults {
    pub fn node() -> String {
        "home".into()
    }
    pub fn speed() -> f64 {
        1.0
    }
}
