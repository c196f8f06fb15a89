//! What a type cannot say: ranges, names, and keys that go together. Comparisons are written so that NaN fails them.

mod sources;

use std::ops::RangeInclusive;

use crate::publish::mqtt::Address;

use super::document::Positions;
use super::error::Problem;
use super::{Config, Decision, Mqtt, Verb, Window};

/// Channels that a source may have.
pub(super) const MAX_CHANNELS: u16 = 64;

/// Days for which a sitting may be kept.
pub(crate) const KEEP_DAYS: RangeInclusive<usize> = 1..=36_500;

/// Every problem of a configuration, in the order of its sections.
pub(super) fn problems(config: &Config, positions: &Positions) -> Vec<Problem> {
    let mut check = Check {
        positions,
        problems: Vec::new(),
    };
    check.identifier("node", &config.node);
    check.filled("models.pack", config.models.pack.as_os_str().is_empty());
    check.integer(
        "models.device_id",
        usize::from(config.models.device_id),
        0..=63,
    );
    check.integer("models.workers", config.models.workers, 0..=256);
    check.integer("models.batch", config.models.batch, 0..=256);
    let wait = usize::try_from(config.models.batch_wait_ms).unwrap_or(usize::MAX);
    check.integer("models.batch_wait_ms", wait, 0..=1_000);
    check.streams(&config.streams, config.mqtt.is_some());
    check.window(&config.window);
    check.filled("speaker.store", config.speaker.store.as_os_str().is_empty());
    if config.speaker.key_file.is_some() && config.speaker.passphrase_file.is_some() {
        check.fail(
            "speaker.passphrase_file",
            "expected a key file or a passphrase file, found both".into(),
        );
    }
    if let Some(days) = config.speaker.keep_days {
        check.integer("speaker.keep_days", days as usize, KEEP_DAYS);
    }
    check.decision("speaker.decision", &config.speaker.decision);
    check.decision("spoof.decision", &config.spoof.decision);
    check.rates("speaker.decision", &config.speaker.decision);
    check.no_rates("spoof.decision", &config.spoof.decision);
    check.number("sound.on", config.sound.on, 0.01..=1.0);
    check.number("sound.off", config.sound.off, 0.0..=config.sound.on);
    check.integer(
        "sound.min_windows",
        config.sound.min_windows as usize,
        1..=100,
    );
    check.number("health.stuck_s", config.health.stuck_s, 1.0..=3_600.0);
    check.number("health.rank_share", config.health.rank_share, 0.0..=1.0);
    if let Some(mqtt) = &config.mqtt {
        check.mqtt(mqtt);
    }
    if let Some(outbox) = config.mqtt.as_ref().and_then(|mqtt| mqtt.outbox.as_ref())
        && *outbox == config.speaker.store
    {
        check.fail(
            "mqtt.outbox",
            "is the same file as speaker.store; expected one of its own".into(),
        );
    }
    check.topic_levels("home_assistant.prefix", &config.home_assistant.prefix);
    if let Some(client) = &config.home_assistant.client {
        let clients = config.mqtt.as_ref().map(|mqtt| &mqtt.commands.clients);
        if !clients.is_some_and(|clients| clients.contains_key(client)) {
            check.fail(
                "home_assistant.client",
                format!("expected a client that [mqtt.commands.clients] lists the verbs of, found `{client}`"),
            );
        }
    }
    if let Some(jsonl) = &config.jsonl {
        check.filled("jsonl.path", jsonl.path.as_os_str().is_empty());
    }
    check.problems
}

impl Decision {
    /// Keys out of range, and what was expected of each.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let prior = self.prior;
        if !(prior > 0.0 && prior < 1.0) {
            let text = format!("expected a probability above 0 and below 1, found {prior}");
            problems.push(("prior", text));
        }
        for (name, cost) in [
            ("cost_miss", self.cost_miss),
            ("cost_false_accept", self.cost_false_accept),
        ] {
            if !(cost > 0.0 && cost.is_finite()) {
                problems.push((
                    name,
                    format!("expected a finite cost above 0, found {cost}"),
                ));
            }
        }
        let margin = self.margin;
        if !(margin >= 0.0 && margin.is_finite()) {
            let text = format!("expected a finite number of nats, 0 or more, found {margin}");
            problems.push(("margin", text));
        }
        problems
    }
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 7] = [
        Self::Mute,
        Self::Unmute,
        Self::Set,
        Self::Verify,
        Self::Enrol,
        Self::Cancel,
        Self::Forget,
    ];
    /// Those that anybody may be allowed. Who is enrolled decides whom a door opens for: that takes a named client, whom the
    /// broker's access list vouches for.
    pub const ANYBODY_S: [Self; 4] = [Self::Mute, Self::Unmute, Self::Set, Self::Verify];

    /// Whether who may use this verb may use that one.
    pub fn covers(self, verb: Self) -> bool {
        self == verb || (self, verb) == (Self::Enrol, Self::Cancel)
    }

    /// Its name, the last level of its topic.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mute => "mute",
            Self::Unmute => "unmute",
            Self::Set => "set",
            Self::Verify => "verify",
            Self::Enrol => "enrol",
            Self::Cancel => "cancel",
            Self::Forget => "forget",
        }
    }
}

struct Check<'p> {
    positions: &'p Positions,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn fail(&mut self, key: &str, message: String) {
        self.problems.push(self.positions.problem(key, message));
    }

    fn identifier(&mut self, key: &str, id: &str) {
        let valid = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if id.is_empty() || !id.chars().all(valid) {
            self.fail(
                key,
                format!("expected letters, digits, `_` and `-` only, found `{id}`"),
            );
        }
    }

    fn filled(&mut self, key: &str, empty: bool) {
        if empty {
            self.fail(key, "expected a value, found an empty one".into());
        }
    }

    fn integer(&mut self, key: &str, value: usize, range: RangeInclusive<usize>) {
        if !range.contains(&value) {
            let (low, high) = range.into_inner();
            self.fail(key, format!("expected {low} to {high}, found {value}"));
        }
    }

    fn number(&mut self, key: &str, value: f64, range: RangeInclusive<f64>) {
        if !range.contains(&value) {
            let (low, high) = range.into_inner();
            self.fail(key, format!("expected {low} to {high}, found {value}"));
        }
    }

    fn window(&mut self, window: &Window) {
        self.number("window.length_s", window.length_s, 1.0..=10.0);
        // Against the longest window if the length itself is wrong: one mistake, one message.
        let longest = if (1.0..=10.0).contains(&window.length_s) {
            window.length_s
        } else {
            10.0
        };
        if !(0.1..=longest).contains(&window.hop_s) {
            self.fail(
                "window.hop_s",
                format!(
                    "expected 0.1 to {longest} (length_s), found {}",
                    window.hop_s
                ),
            );
        }
        self.number("window.min_speech", window.min_speech, 0.0..=1.0);
        self.integer("window.queue", window.queue, 1..=1_000);
    }

    fn decision(&mut self, key: &str, decision: &Decision) {
        for (name, problem) in decision.problems() {
            self.fail(&format!("{key}.{name}"), problem);
        }
    }

    /// Stated error rates: in range, and nothing beside them that says the same in other words.
    fn rates(&mut self, key: &str, decision: &Decision) {
        for (name, rate) in [
            ("target_far", decision.target_far),
            ("target_frr", decision.target_frr),
        ] {
            if let Some(rate) = rate
                && !(rate > 0.0 && rate <= 0.5)
            {
                self.fail(
                    &format!("{key}.{name}"),
                    format!("expected a probability above 0 and at most 0.5, found {rate}"),
                );
            }
        }
        if decision.target_far.is_none() {
            if decision.target_frr.is_some() {
                self.fail(
                    &format!("{key}.target_frr"),
                    "expected `target_far` beside it: one stated rate does not make a decision"
                        .into(),
                );
            }
            return;
        }
        for name in ["prior", "cost_miss", "cost_false_accept"] {
            let given = format!("{key}.{name}");
            if self.positions.has(&given) {
                self.fail(
                    &given,
                    "expected none beside `target_far`, which states the aim by itself: leave one of them out"
                        .into(),
                );
            }
        }
    }

    /// Of forgeries no rate can be promised.
    fn no_rates(&mut self, key: &str, decision: &Decision) {
        for (name, rate) in [
            ("target_far", decision.target_far),
            ("target_frr", decision.target_frr),
        ] {
            if rate.is_some() {
                self.fail(
                    &format!("{key}.{name}"),
                    "expected none: how often a forgery passes depends on a system that nobody knows yet; state `prior` and costs"
                        .into(),
                );
            }
        }
    }

    fn mqtt(&mut self, mqtt: &Mqtt) {
        let tls = match mqtt.broker.parse::<Address>() {
            Ok(address) => address.tls,
            Err(error) => {
                self.fail("mqtt.broker", error.to_string());
                // Unknown: the keys that need TLS are not complained about as well.
                true
            }
        };
        self.topic_levels("mqtt.prefix", &mqtt.prefix);
        self.filled(
            "mqtt.client_id",
            mqtt.client_id.as_deref().is_some_and(str::is_empty),
        );
        if mqtt.password_file.is_some() && mqtt.username.is_none() {
            self.fail(
                "mqtt.password_file",
                "a password needs a `username` beside it".into(),
            );
        }
        if mqtt.client_cert_file.is_some() != mqtt.client_key_file.is_some() {
            let (has, lacks) = if mqtt.client_cert_file.is_some() {
                ("client_cert_file", "client_key_file")
            } else {
                ("client_key_file", "client_cert_file")
            };
            self.fail(
                &format!("mqtt.{has}"),
                format!("expected `{lacks}` beside it: a certificate and its key go together"),
            );
        }
        for (name, set) in [
            ("ca_file", mqtt.ca_file.is_some()),
            ("client_cert_file", mqtt.client_cert_file.is_some()),
        ] {
            if set && !tls {
                self.fail(
                    &format!("mqtt.{name}"),
                    "is of no use without TLS: expected `broker` to begin with mqtts://".into(),
                );
            }
        }
        self.integer("mqtt.version", mqtt.version.into(), 4..=5);
        let keep_alive = usize::try_from(mqtt.keep_alive_s).unwrap_or(usize::MAX);
        let least = if mqtt.version == 5 { 5 } else { 1 };
        self.integer("mqtt.keep_alive_s", keep_alive, least..=65_535);
        let empty = |path: &std::path::PathBuf| path.as_os_str().is_empty();
        self.filled("mqtt.outbox", mqtt.outbox.as_ref().is_some_and(empty));
        let size = usize::try_from(mqtt.outbox_max_mb).unwrap_or(usize::MAX);
        self.integer("mqtt.outbox_max_mb", size, 0..=100_000);
        let age = usize::try_from(mqtt.outbox_max_age_h).unwrap_or(usize::MAX);
        self.integer("mqtt.outbox_max_age_h", age, 1..=8_760);
        self.integer("mqtt.backlog", mqtt.backlog, 1..=1_000_000);
        let vitals = usize::try_from(mqtt.vitals_s).unwrap_or(usize::MAX);
        self.integer("mqtt.vitals_s", vitals, 1..=3600);
        let often = usize::try_from(mqtt.commands.per_minute).unwrap_or(usize::MAX);
        self.integer("mqtt.commands.per_minute", often, 0..=6000);
        for client in mqtt.commands.clients.keys() {
            self.identifier("mqtt.commands.clients", client);
        }
        let is_for_named = |verb: &&Verb| !Verb::ANYBODY_S.contains(verb);
        if let Some(verb) = mqtt.commands.allow.iter().find(is_for_named) {
            let verb = verb.name();
            self.fail(
                "mqtt.commands.allow",
                format!("`{verb}` is not for anybody: expected it under [mqtt.commands.clients], for a client that the broker knows"),
            );
        }
    }

    fn topic_levels(&mut self, key: &str, prefix: &str) {
        let levels_filled = prefix.split('/').all(|level| !level.is_empty());
        if !levels_filled || prefix.starts_with('$') || prefix.contains(['+', '#', '\0']) {
            self.fail(
                key,
                format!("expected topic levels without `+`, `#`, a leading `$` or an empty level, found `{prefix}`"),
            );
        }
    }
}
