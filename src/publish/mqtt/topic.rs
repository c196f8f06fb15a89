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

    proptest! {
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
