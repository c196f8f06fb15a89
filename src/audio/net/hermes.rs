//! Hermes, the satellites of Rhasspy: `hermes/audioServer/<siteId>/audioFrame` carries a WAV file a message, with no number
//! and no time. What is missing is found by the clock (`timeline`): exact to about a second in place, to the network's jitter
//! in length.

use std::time::{Duration, Instant};

use rumqttc::{AsyncClient, Event, MqttOptions, Packet as Mqtt, QoS, TlsConfiguration, Transport};

use crate::config::{self, Input};
use crate::publish::mqtt::{Address, client_tls, password};
use crate::publish::throttle::Throttle;

use super::super::backoff::Backoff;
use super::super::open::{Context, Kind, Opened};
use super::super::reader::Message;
use super::super::worker::{Outlet, TICK, Worker};
use super::super::{Packet, SourceError};
use super::check_peer;
use super::timeline::{Step, Timeline};
use super::wav::{MAX_WAV, Wav, read_wav};

pub(in super::super) const KIND: Kind = Kind {
    name: "hermes",
    open: |input, context| match input {
        Input::Hermes { site, broker } => Some(open(site, broker.as_deref(), context)),
        _ => None,
    },
};

/// Largest MQTT packet: a frame, its topic, and room for one that is too large to be told from one that is broken.
const MAX_PACKET: usize = 2 * MAX_WAV;
/// Frames later than this are missed, seconds; and for how long they have to be.
const TOLERANCE_S: f64 = 0.25;
const SETTLE_S: f64 = 1.0;
/// Without a frame for this long the satellite is silent, and what comes next begins anew.
const GONE: Duration = Duration::from_secs(5);

fn open(site: &str, broker: Option<&str>, context: &Context<'_>) -> Opened {
    let what = format!("hermes site {site}");
    let unusable = |reason: String| SourceError::unusable(&what, reason);
    let config = match (broker, context.mqtt) {
        (Some(broker), _) => config::Mqtt {
            broker: broker.into(),
            ..config::Mqtt::default()
        },
        (None, Some(mqtt)) => mqtt.clone(),
        (None, None) => return Err(unusable("expected a broker, found none".into())),
    };
    let client_id = format!("earwitness-{}-hear-{}", context.node, context.stream);
    // Once, so that a mistake shows at start.
    options(&config, &client_id).map_err(unusable)?;
    let listener = Listener {
        topic: format!("hermes/audioServer/{site}/audioFrame"),
        config,
        client_id,
        heard: Frames::new(context.channel),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| SourceError::io(&what, e))?;
    let worker = Worker::start(&what, move |outlet| runtime.block_on(listener.run(outlet)))?;
    Ok(Box::new(worker))
}

/// For one connection; the password is read anew each time.
fn options(config: &config::Mqtt, client_id: &str) -> Result<MqttOptions, String> {
    let address: Address = config.broker.parse().map_err(|e| format!("{e}"))?;
    let mut options = MqttOptions::new(client_id, address.socket_host(), address.port);
    options
        .set_keep_alive(Duration::from_secs(config.keep_alive_s))
        .set_max_packet_size(MAX_PACKET, MAX_PACKET);
    if let Some(username) = &config.username {
        let password = password(config.password_file.as_deref()).map_err(|e| e.to_string())?;
        options.set_credentials(username, password);
    }
    if address.tls {
        let tls = client_tls(config).map_err(|e| e.to_string())?;
        let tls = TlsConfiguration::Rustls(std::sync::Arc::new(tls));
        options.set_transport(Transport::tls_with_config(tls));
    }
    Ok(options)
}

struct Listener {
    topic: String,
    config: config::Mqtt,
    client_id: String,
    heard: Frames,
}

impl Listener {
    async fn run(mut self, mut outlet: Outlet) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        outlet.down(format!("waits for {}", self.topic));
        while !outlet.stopped() {
            let started = Instant::now();
            let reason = match options(&self.config, &self.client_id) {
                Ok(options) => self.connection(options, &mut outlet).await,
                Err(reason) => reason,
            };
            if started.elapsed() > Duration::from_secs(30) {
                backoff.reset();
            }
            self.heard.forget();
            outlet.down(format!("{}: {reason}", self.config.broker));
            outlet.sleep(backoff.delay());
        }
    }

    /// One connection, from the first attempt to its end; says why it ended.
    async fn connection(&mut self, options: MqttOptions, outlet: &mut Outlet) -> String {
        let (client, mut eventloop) = AsyncClient::new(options, 8);
        loop {
            // To its end: a poll that is dropped half way may lose a request.
            let event = {
                let poll = eventloop.poll();
                tokio::pin!(poll);
                loop {
                    tokio::select! {
                        event = &mut poll => break event,
                        () = tokio::time::sleep(TICK) => {
                            if outlet.stopped() {
                                return "stopped".into();
                            }
                            self.heard.look(outlet);
                        }
                    }
                }
            };
            match event {
                Ok(Event::Incoming(Mqtt::ConnAck(_))) => {
                    // A full channel of requests right after connecting would be a fault of the library.
                    if let Err(e) = client.try_subscribe(&self.topic, QoS::AtMostOnce) {
                        return e.to_string();
                    }
                    tracing::info!(topic = self.topic, "subscribed");
                }
                Ok(Event::Incoming(Mqtt::Publish(publish))) => {
                    self.heard.take(&publish.payload, outlet);
                }
                Ok(_) => (),
                Err(e) => return e.to_string(),
            }
        }
    }
}

/// What came on the topic so far.
struct Frames {
    channel: Option<u16>,
    start: Instant,
    format: Option<(u32, u16)>,
    timeline: Timeline,
    last: Instant,
    refused: Throttle,
}

impl Frames {
    fn new(channel: Option<u16>) -> Self {
        Self {
            channel,
            start: Instant::now(),
            format: None,
            timeline: Timeline::arriving(1, TOLERANCE_S, SETTLE_S),
            last: Instant::now(),
            refused: Throttle::new(Duration::from_secs(10)),
        }
    }

    fn take(&mut self, payload: &[u8], outlet: &mut Outlet) {
        let checked = read_wav(payload)
            .map_err(|e| e.to_string())
            .and_then(|wav| {
                check_peer(wav.rate, wav.channels, self.channel)?;
                Ok(wav)
            });
        match checked {
            Ok(wav) => self.hand_on(wav, outlet),
            Err(error) => {
                if let Some(count) = self.refused.hit(Instant::now()) {
                    tracing::warn!(count, error, "an audio frame was left out");
                }
            }
        }
    }

    fn hand_on(&mut self, wav: Wav, outlet: &mut Outlet) {
        if wav.samples.is_empty() {
            return;
        }
        let format = (wav.rate, wav.channels);
        if self.format != Some(format) {
            outlet.up();
            self.format = Some(format);
            self.timeline = Timeline::arriving(wav.rate, TOLERANCE_S, SETTLE_S);
            let (rate, channels) = format;
            outlet.send(Packet::Format { rate, channels }.into());
        }
        self.last = Instant::now();
        let frames = (wav.samples.len() / usize::from(wav.channels)) as u64;
        let length = frames as f64 / f64::from(wav.rate);
        let time_s = (self.last - self.start).as_secs_f64() - length;
        if let Step::Lost(frames) = self.timeline.step(time_s, frames) {
            outlet.send(Packet::Gap { frames }.into());
        }
        outlet.send(Message {
            packet: Packet::Audio {
                captured: self.last,
            },
            samples: wav.samples,
        });
    }

    /// Notices that nothing comes any more.
    fn look(&mut self, outlet: &mut Outlet) {
        if self.format.is_some() && self.last.elapsed() > GONE {
            self.forget();
            outlet.down(format!("no audio frame for {} s", GONE.as_secs()));
        }
    }

    /// What comes next begins anew.
    fn forget(&mut self) {
        self.format = None;
    }
}
