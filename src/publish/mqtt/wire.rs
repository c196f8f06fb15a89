//! Both protocol versions behind one face: what differs between MQTT 3.1.1 and 5 is here and nowhere else.

use rumqttc::{ConnectionError, NetworkOptions, Outgoing as Sent, QoS, v5};
use v5::mqttbytes::QoS as QoS5;
use v5::mqttbytes::v5 as packet5;

use super::failure::NETWORK_TIMEOUT_S;

/// How long the broker keeps the session of one who is away, seconds; MQTT 3.1.1 leaves that to the broker.
pub const SESSION_EXPIRY_S: u32 = 24 * 3600;

/// Options of one connection.
pub enum Options {
    /// MQTT 3.1.1.
    V4(Box<rumqttc::MqttOptions>),
    /// MQTT 5.
    V5(Box<v5::MqttOptions>),
}

/// Hands requests to the connection; never waits.
pub enum Client {
    /// MQTT 3.1.1.
    V4(rumqttc::AsyncClient),
    /// MQTT 5.
    V5(v5::AsyncClient),
}

/// The connection itself.
pub enum Connection {
    /// MQTT 3.1.1.
    V4(Box<rumqttc::EventLoop>),
    /// MQTT 5.
    V5(Box<v5::EventLoop>),
}

/// What happened on it.
#[derive(Debug)]
pub enum Happening {
    /// The broker took us.
    Accepted {
        /// It remembers our subscriptions.
        session_present: bool,
    },
    /// It acknowledged a publish.
    Acknowledged {
        /// Which.
        pkid: u16,
        /// Why it will not have it; only MQTT 5 says so.
        refused: Option<String>,
    },
    /// It answered a subscription.
    Subscribed {
        /// Whether it took all of it.
        granted: bool,
    },
    /// A message came.
    Message(Incoming),
    /// A publish was written, 0 at QoS 0.
    Written(u16),
    /// Our goodbye was written.
    Left,
    /// Something else came from the broker.
    Heard,
    /// Something else was sent.
    Other,
}

/// A message to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
    /// Where the answer is wanted; MQTT 5.
    pub response_topic: Option<String>,
    /// What the answer has to carry; MQTT 5.
    pub correlation: Option<Vec<u8>>,
}

/// A lost or refused connection.
#[derive(Debug)]
pub enum Error {
    /// MQTT 3.1.1.
    V4(ConnectionError),
    /// MQTT 5.
    V5(Box<v5::ConnectionError>),
}

impl Options {
    /// A client, and its connection, which is made by [`Connection::poll`]. At most `requests` wait in between.
    pub fn open(self, requests: usize) -> (Client, Connection) {
        match self {
            Self::V4(options) => {
                let (client, mut eventloop) = rumqttc::AsyncClient::new(*options, requests);
                eventloop.set_network_options(network());
                (Client::V4(client), Connection::V4(Box::new(eventloop)))
            }
            Self::V5(mut options) => {
                options.set_network_options(network());
                options.set_connection_timeout(NETWORK_TIMEOUT_S);
                let (client, eventloop) = v5::AsyncClient::new(*options, requests);
                (Client::V5(client), Connection::V5(Box::new(eventloop)))
            }
        }
    }
}

impl Client {
    /// `false`: there is no room.
    pub fn publish(
        &self,
        topic: String,
        at_least_once: bool,
        retain: bool,
        payload: Vec<u8>,
    ) -> bool {
        match self {
            Self::V4(client) => {
                let qos = if at_least_once {
                    QoS::AtLeastOnce
                } else {
                    QoS::AtMostOnce
                };
                client.try_publish(topic, qos, retain, payload).is_ok()
            }
            Self::V5(client) => {
                let qos = if at_least_once {
                    QoS5::AtLeastOnce
                } else {
                    QoS5::AtMostOnce
                };
                client.try_publish(topic, qos, retain, payload).is_ok()
            }
        }
    }

    /// An answer at QoS 0, with the correlation where the version has one. `false`: there is no room.
    pub fn answer(&self, topic: String, correlation: Option<Vec<u8>>, payload: Vec<u8>) -> bool {
        match (self, correlation) {
            (Self::V5(client), Some(correlation)) => {
                let properties = packet5::PublishProperties {
                    correlation_data: Some(correlation.into()),
                    ..Default::default()
                };
                client
                    .try_publish_with_properties(
                        topic,
                        QoS5::AtMostOnce,
                        false,
                        payload,
                        properties,
                    )
                    .is_ok()
            }
            _ => self.publish(topic, false, false, payload),
        }
    }

    /// At QoS 0. `false`: there is no room.
    pub fn subscribe(&self, topics: &[String]) -> bool {
        match self {
            Self::V4(client) => {
                let filter =
                    |topic: &String| rumqttc::SubscribeFilter::new(topic.clone(), QoS::AtMostOnce);
                client.try_subscribe_many(topics.iter().map(filter)).is_ok()
            }
            Self::V5(client) => {
                let filter = |topic: &String| packet5::Filter::new(topic.clone(), QoS5::AtMostOnce);
                client.try_subscribe_many(topics.iter().map(filter)).is_ok()
            }
        }
    }

    /// `false`: there is no room.
    pub fn disconnect(&self) -> bool {
        match self {
            Self::V4(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        }
    }
}

impl Connection {
    /// Waits for what happens next. Has to run to its end: rumqttc loses a request when it is cancelled in a write.
    pub async fn poll(&mut self) -> Result<Happening, Error> {
        match self {
            Self::V4(eventloop) => Ok(of_v4(eventloop.poll().await.map_err(Error::V4)?)),
            Self::V5(eventloop) => {
                let error = |e| Error::V5(Box::new(e));
                Ok(of_v5(eventloop.poll().await.map_err(error)?))
            }
        }
    }
}

fn of_v4(event: rumqttc::Event) -> Happening {
    use rumqttc::{Event, Packet, SubscribeReasonCode};
    match event {
        Event::Incoming(Packet::ConnAck(ack)) => Happening::Accepted {
            session_present: ack.session_present,
        },
        Event::Incoming(Packet::PubAck(ack)) => Happening::Acknowledged {
            pkid: ack.pkid,
            refused: None,
        },
        Event::Incoming(Packet::SubAck(ack)) => Happening::Subscribed {
            granted: !ack.return_codes.contains(&SubscribeReasonCode::Failure),
        },
        Event::Incoming(Packet::Publish(publish)) => Happening::Message(Incoming {
            topic: publish.topic,
            payload: publish.payload.to_vec(),
            retain: publish.retain,
            response_topic: None,
            correlation: None,
        }),
        Event::Incoming(_) => Happening::Heard,
        Event::Outgoing(sent) => of_sent(&sent),
    }
}

fn of_v5(event: v5::Event) -> Happening {
    use packet5::{Packet, PubAckReason, SubscribeReasonCode};
    match event {
        v5::Event::Incoming(Packet::ConnAck(ack)) => Happening::Accepted {
            session_present: ack.session_present,
        },
        v5::Event::Incoming(Packet::PubAck(ack)) => {
            let fine = matches!(
                ack.reason,
                PubAckReason::Success | PubAckReason::NoMatchingSubscribers
            );
            Happening::Acknowledged {
                pkid: ack.pkid,
                refused: (!fine).then(|| format!("{:?}", ack.reason)),
            }
        }
        v5::Event::Incoming(Packet::SubAck(ack)) => {
            let is_granted = |code: &_| matches!(code, SubscribeReasonCode::Success(_));
            Happening::Subscribed {
                granted: ack.return_codes.iter().all(is_granted),
            }
        }
        v5::Event::Incoming(Packet::Publish(publish)) => {
            let properties = publish.properties.unwrap_or_default();
            Happening::Message(Incoming {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload.to_vec(),
                retain: publish.retain,
                response_topic: properties.response_topic,
                correlation: properties.correlation_data.map(|data| data.to_vec()),
            })
        }
        v5::Event::Incoming(_) => Happening::Heard,
        v5::Event::Outgoing(sent) => of_sent(&sent),
    }
}

fn of_sent(sent: &Sent) -> Happening {
    match sent {
        Sent::Publish(pkid) => Happening::Written(*pkid),
        Sent::Disconnect => Happening::Left,
        _ => Happening::Other,
    }
}

fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(NETWORK_TIMEOUT_S);
    // Events are small and wanted at once.
    network.set_tcp_nodelay(true);
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4() -> (Client, Connection) {
        Options::V4(Box::new(rumqttc::MqttOptions::new("c", "h", 1))).open(1)
    }

    fn v5() -> (Client, Connection) {
        Options::V5(Box::new(v5::MqttOptions::new("c", "h", 1))).open(1)
    }

    #[test]
    fn neither_version_waits_for_room() {
        for (client, _connection) in [v4(), v5()] {
            assert!(client.publish("t".into(), true, false, vec![1]));
            assert!(!client.publish("t".into(), true, false, vec![1]));
            assert!(!client.answer("t".into(), Some(vec![1]), vec![1]));
            assert!(!client.subscribe(&["t".into()]));
            assert!(!client.disconnect());
        }
    }

    #[test]
    fn a_refused_publish_is_told_from_an_accepted_one() {
        use packet5::{Packet, PubAck, PubAckReason};
        let refused = |reason| {
            let ack = PubAck {
                reason,
                ..PubAck::new(7, None)
            };
            match of_v5(v5::Event::Incoming(Packet::PubAck(ack))) {
                Happening::Acknowledged { pkid: 7, refused } => refused,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(PubAckReason::NoMatchingSubscribers), None);
        assert_eq!(
            refused(PubAckReason::NotAuthorized).as_deref(),
            Some("NotAuthorized")
        );
    }
}
