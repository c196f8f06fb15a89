//! One connection attempt, for `doctor`.

use std::time::{Duration, Instant};

use super::failure::explain;
use super::options::{MqttError, Options};
use super::topic::Topics;
use super::wire::Happening;
use crate::config;

/// Connects as configured, but under a client id of its own, so that a daemon that runs is not thrown out, and
/// leaves again. Returns what a person would want to read. Takes `timeout` at most. Not for async code.
///
/// # Errors
/// [`MqttError`]: what is wrong with the configuration, or why the broker did not accept us.
pub fn probe(config: &config::Mqtt, timeout: Duration) -> Result<String, MqttError> {
    look(config, None, timeout)
}

/// The same, and with MQTT 5 whether the broker lets `node` publish: an empty message, not retained, to
/// `<prefix>/<node>/doctor`. With MQTT 3.1.1 a broker does not tell.
///
/// # Errors
/// As [`probe`].
pub fn probe_as(config: &config::Mqtt, node: &str, timeout: Duration) -> Result<String, MqttError> {
    let topics = Topics::new(&config.prefix, node)?;
    let topic = (config.version == 5).then(|| format!("{}/doctor", topics.base()));
    look(config, topic, timeout)
}

fn look(
    config: &config::Mqtt,
    topic: Option<String>,
    timeout: Duration,
) -> Result<String, MqttError> {
    let mut options = Options::new(config, "probe")?;
    options.client_id = format!("earwitness-probe-{}", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(MqttError::Runtime)?;
    let outcome = runtime.block_on(async {
        tokio::time::timeout(timeout, attempt(&options, topic))
            .await
            .unwrap_or_else(|_| {
                let (at, s) = (&options.address, timeout.as_secs_f64());
                Err(MqttError::Unreachable(format!(
                    "{at} did not answer within {s} s"
                )))
            })
    });
    runtime.shutdown_background();
    outcome
}

async fn attempt(options: &Options, mut topic: Option<String>) -> Result<String, MqttError> {
    let start = Instant::now();
    let (client, mut connection) = options.connection(None)?.open(8);
    let mut accepted = None;
    loop {
        match connection.poll().await {
            Ok(Happening::Accepted { .. }) => {
                accepted = Some(start.elapsed());
                let asked = topic
                    .as_ref()
                    .is_some_and(|topic| client.publish(topic.clone(), true, false, Vec::new()));
                if !asked && !client.disconnect() {
                    break;
                }
            }
            Ok(Happening::Acknowledged { refused, .. }) => {
                let (at, topic) = (&options.address, topic.take().unwrap_or_default());
                if let Some(reason) = refused {
                    return Err(MqttError::Refused(format!(
                        "{at} accepts us, but refuses to publish to {topic}: {reason}; check what user and client id may publish there"
                    )));
                }
                if !client.disconnect() {
                    break;
                }
            }
            Ok(Happening::Left) => break,
            Ok(_) => {}
            Err(_) if accepted.is_some() => break,
            Err(error) => return Err(MqttError::Unreachable(explain(&error, options).text)),
        }
    }
    let ms = accepted.unwrap_or_default().as_millis();
    Ok(format!("{} accepted us in {ms} ms", options.address))
}
