//! A subscriber that notes how late each event comes, and what `stats` counts.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jiff::Timestamp;
use rumqttc::mqttbytes::QoS;
use rumqttc::{Broker, Client, Event, Incoming, MqttOptions};
use serde_json::Value;

/// What was heard.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// Each event but `left`: its track, its type, and the time from its shot's arrival to the message's, in
    /// milliseconds.
    pub(crate) events: Vec<(String, String, f64)>,
    /// Sums over all cameras and all `stats`.
    pub(crate) frames: u64,
    pub(crate) dropped: u64,
}

/// A subscriber with a thread of its own.
pub(crate) struct Subscriber {
    client: Client,
    thread: thread::JoinHandle<()>,
    online: Receiver<()>,
    heard: Arc<Mutex<Heard>>,
}

impl Subscriber {
    /// Subscribes to all of the node `house`.
    ///
    /// # Errors
    /// When the broker refuses.
    pub(crate) fn start(port: u16) -> anyhow::Result<Self> {
        let mut options = MqttOptions::new("house-bench", Broker::tcp("127.0.0.1", port));
        options.set_max_packet_size(Some(1024 * 1024));
        let (client, mut connection) = Client::builder(options).capacity(16).build();
        client.subscribe("kith/house/#", QoS::AtLeastOnce)?;
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (say_online, online) = channel();
        let note = Arc::clone(&heard);
        let thread = thread::Builder::new().name("subscriber".into()).spawn(move || {
            for event in connection.iter() {
                let Ok(event) = event else { return };
                let Event::Incoming(Incoming::Publish(publish)) = event else {
                    continue;
                };
                let now = Timestamp::now();
                let topic = String::from_utf8_lossy(&publish.topic).into_owned();
                if topic.ends_with("house/status") {
                    if !publish.retain && publish.payload.as_ref() == b"online" {
                        let _ = say_online.send(());
                    }
                } else if let Ok(value) = serde_json::from_slice::<Value>(&publish.payload) {
                    let mut heard = note.lock().unwrap_or_else(PoisonError::into_inner);
                    if topic.ends_with("/event") {
                        heard.event(&value, now);
                    } else if topic.ends_with("/stats") && !publish.retain {
                        heard.stats(&value);
                    }
                }
            }
        })?;
        Ok(Self {
            client,
            thread,
            online,
            heard,
        })
    }

    /// Waits until the daemon says that it is there.
    ///
    /// # Errors
    /// When it doesn't before `deadline`.
    pub(crate) fn wait_until_online(&self, deadline: Instant) -> anyhow::Result<()> {
        match self
            .online
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(()) => Ok(()),
            Err(RecvTimeoutError::Timeout) => bail!("the daemon did not come online"),
            Err(RecvTimeoutError::Disconnected) => bail!("lost the broker"),
        }
    }

    /// Ends, and says what was heard.
    ///
    /// # Errors
    /// When the thread fell over.
    pub(crate) fn stop(self) -> anyhow::Result<Heard> {
        self.client.disconnect().context("can't disconnect")?;
        let _ = self.thread.join();
        Ok(std::mem::take(
            &mut *self.heard.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }
}

impl Heard {
    fn event(&mut self, event: &Value, now: Timestamp) {
        let text = |key: &str| event[key].as_str();
        let captured_at = text("captured_at").and_then(|text| text.parse::<Timestamp>().ok());
        let (Some(captured_at), Some(track), Some(event_type)) = (captured_at, text("track"), text("event_type"))
        else {
            return;
        };
        if event_type != "left" {
            let late = Duration::try_from(now.duration_since(captured_at)).unwrap_or_default();
            let late_ms = (late.as_secs_f64() * 10_000.0).round() / 10.0;
            self.events.push((track.to_owned(), event_type.to_owned(), late_ms));
        }
    }

    fn stats(&mut self, stats: &Value) {
        for camera in stats["cameras"]
            .as_object()
            .into_iter()
            .flat_map(|cameras| cameras.values())
        {
            self.dropped += camera["dropped"].as_u64().unwrap_or(0);
            // `stats` tells the rate over the last minute.
            let rate = camera["frames_per_second"].as_f64().unwrap_or(0.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "frames of a minute"
            )]
            let frames = (rate * 60.0).round() as u64;
            self.frames += frames;
        }
    }
}
