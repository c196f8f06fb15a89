//! Names of topics. A node or stream becomes one level, so it may hold nothing that MQTT gives a meaning to.

/// Why a text cannot be part of a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// A node or stream name.
    #[error("`{0}` cannot be a topic level: expected 1 to 64 of a-z A-Z 0-9 _ -")]
    Level(String),
    /// The prefix.
    #[error(
        "topic prefix `{0}`: expected levels of a-z A-Z 0-9 _ - . separated by single `/`, 1 to 128 characters in all"
    )]
    Prefix(String),
}

/// Topics of one daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// `<prefix>/<node>`
    base: String,
}

impl Topics {
    /// Checks prefix (may have several levels) and node.
    ///
    /// # Errors
    /// [`TopicError`] names what is not allowed.
    pub fn new(prefix: &str, node: &str) -> Result<Self, TopicError> {
        let good = |level: &str| !level.is_empty() && level.chars().all(|c| plain(c) || c == '.');
        if prefix.len() > 128 || !prefix.split('/').all(good) {
            return Err(TopicError::Prefix(prefix.into()));
        }
        Ok(Self {
            base: format!("{prefix}/{}", level(node)?),
        })
    }

    /// `<prefix>/<node>/status`
    pub fn status(&self) -> String {
        format!("{}/status", self.base)
    }

    /// `<prefix>/<node>/info`
    pub fn info(&self) -> String {
        format!("{}/info", self.base)
    }

    /// `<prefix>/<node>/<stream>/state`
    ///
    /// # Errors
    /// When the stream's name cannot be a level.
    pub fn state(&self, stream: &str) -> Result<String, TopicError> {
        Ok(format!("{}/{}/state", self.base, level(stream)?))
    }

    /// `<prefix>/<node>/vitals`
    pub fn vitals(&self) -> String {
        format!("{}/vitals", self.base)
    }

    /// `<prefix>/<node>/<stream>/vitals`
    ///
    /// # Errors
    /// When the stream's name cannot be a level.
    pub fn stream_vitals(&self, stream: &str) -> Result<String, TopicError> {
        Ok(format!("{}/{}/vitals", self.base, level(stream)?))
    }

    /// `<prefix>/<node>/<stream>/settings`
    ///
    /// # Errors
    /// When the stream's name cannot be a level.
    pub fn settings(&self, stream: &str) -> Result<String, TopicError> {
        Ok(format!("{}/{}/settings", self.base, level(stream)?))
    }

    /// `<prefix>/<node>/command/<verb>`
    pub fn command(&self, verb: &str) -> String {
        format!("{}/command/{verb}", self.base)
    }

    /// `<prefix>/<node>/from/<client>/command/<verb>`, or without a client `<prefix>/<node>/command/<verb>`
    ///
    /// # Errors
    /// When the client's name cannot be a level.
    pub fn command_as(&self, client: Option<&str>, verb: &str) -> Result<String, TopicError> {
        Ok(match client {
            Some(client) => format!("{}/from/{}/command/{verb}", self.base, level(client)?),
            None => self.command(verb),
        })
    }

    /// `<prefix>/<node>/<stream>/enrolment`
    ///
    /// # Errors
    /// When the stream's name cannot be a level.
    pub fn enrolment(&self, stream: &str) -> Result<String, TopicError> {
        Ok(format!("{}/{}/enrolment", self.base, level(stream)?))
    }

    /// What to subscribe to for commands: anybody's, and those of a named client.
    pub fn commands(&self) -> [String; 2] {
        let base = &self.base;
        [
            format!("{base}/command/+"),
            format!("{base}/from/+/command/+"),
        ]
    }

    /// Client (if it is named) and verb of a command topic; `None`: it is none.
    pub fn command_of<'t>(&self, topic: &'t str) -> Option<(Option<&'t str>, &'t str)> {
        let rest = topic.strip_prefix(&self.base)?.strip_prefix('/')?;
        let levels: Vec<&str> = rest.split('/').collect();
        match levels[..] {
            ["command", verb] => Some((None, verb)),
            ["from", client, "command", verb] => Some((Some(client), verb)),
            _ => None,
        }
    }

    /// `<prefix>/<node>/response/`, below which answers go.
    pub fn responses(&self) -> String {
        format!("{}/response/", self.base)
    }

    /// Whether an answer may go there.
    pub fn is_response(&self, topic: &str) -> bool {
        topic
            .strip_prefix(&self.responses())
            .is_some_and(|rest| rest.split('/').all(|level| self::level(level).is_ok()))
    }

    /// What comes before each topic of this daemon, unique among all.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `<prefix>/<node>/<stream>/event/<kind>`; `kind` is [`Body::kind`](crate::publish::Body::kind).
    ///
    /// # Errors
    /// When the stream's name cannot be a level.
    pub fn event(&self, stream: &str, kind: &str) -> Result<String, TopicError> {
        Ok(format!("{}/{}/event/{kind}", self.base, level(stream)?))
    }
}

fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

fn level(name: &str) -> Result<&str, TopicError> {
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(TopicError::Level(name.into()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_of_a_daemon() {
        let topics = Topics::new("site/earwitness", "home").unwrap();
        assert_eq!(topics.status(), "site/earwitness/home/status");
        assert_eq!(topics.info(), "site/earwitness/home/info");
        assert_eq!(
            topics.state("k_1").unwrap(),
            "site/earwitness/home/k_1/state"
        );
        assert_eq!(
            topics.event("k_1", "spoof").unwrap(),
            "site/earwitness/home/k_1/event/spoof"
        );
    }

    #[test]
    fn wildcards_and_empty_levels_are_refused() {
        for prefix in ["", "/a", "a/", "a//b", "a/#", "+", "$SYS/x", "a b"] {
            assert_eq!(
                Topics::new(prefix, "home"),
                Err(TopicError::Prefix(prefix.into()))
            );
        }
        for node in ["", "a/b", "+", "#", "é", "a.b"] {
            assert_eq!(Topics::new("p", node), Err(TopicError::Level(node.into())));
        }
    }

    #[test]
    fn commands_and_answers() {
        let topics = Topics::new("a/b", "home").unwrap();
        let command_of = |topic| topics.command_of(topic);
        assert_eq!(command_of("a/b/home/command/mute"), Some((None, "mute")));
        assert_eq!(
            command_of("a/b/home/from/ha/command/set"),
            Some((Some("ha"), "set"))
        );
        for topic in [
            "a/b/home/command",
            "a/b/home/command/a/b",
            "a/b/homes/command/x",
            "a/b/home/from/command/x",
            "homeassistant/status",
        ] {
            assert_eq!(command_of(topic), None, "{topic}");
        }
        assert!(topics.is_response("a/b/home/response/x/1"));
        for topic in [
            "a/b/home/response/",
            "a/b/home/response",
            "a/b/home/response/#",
            "a/b/home/response/+/x",
            "a/b/home/response//x",
            "a/b/other/response/x",
            "a/b/home/status",
        ] {
            assert!(!topics.is_response(topic), "{topic}");
        }
    }

    proptest! {
        #[test]
        fn no_topic_panics(topic in "(p/n/)?(command/|from/)?\\PC{0,40}") {
            let topics = Topics::new("p", "n").unwrap();
            let _ = topics.command_of(&topic);
            if topics.is_response(&topic) {
                prop_assert!(rumqttc::valid_topic(&topic));
            }
        }

        #[test]
        fn an_accepted_stream_is_one_level_that_rumqttc_publishes_to(stream in "\\PC{0,70}") {
            let topics = Topics::new("earwitness", "home").unwrap();
            if let Ok(topic) = topics.event(&stream, "gap") {
                prop_assert!(rumqttc::valid_topic(&topic));
                let levels: Vec<&str> = topic.split('/').collect();
                prop_assert_eq!(levels, ["earwitness", "home", stream.as_str(), "event", "gap"]);
            }
        }

        #[test]
        fn every_configured_name_is_accepted(stream in "[a-zA-Z0-9_-]{1,64}") {
            prop_assert!(Topics::new("p", &stream).unwrap().state(&stream).is_ok());
        }
    }
}
