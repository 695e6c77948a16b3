//! A subscriber, as any client of the daemon would be one.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rumqttc::mqttbytes::QoS;
use rumqttc::{Broker, Client, Event, Incoming, MqttOptions};
use serde_json::Value;

/// A visit, as the daemon named it in the end.
#[derive(Debug)]
pub(crate) struct Passage {
    track: String,
    /// `None`: nobody enrolled.
    pub(crate) name: Option<String>,
}

/// What the thread that polls the client hands on.
enum Heard {
    Subscribed,
    Event(Value),
    Offline,
    Lost(String),
}

/// The subscriber, its subscription confirmed.
pub(crate) struct Listener {
    heard: Receiver<Heard>,
}

/// Subscribes to the events and the status of the node `demo`.
///
/// # Errors
/// When the URL is not `mqtt://HOST[:PORT]` or the broker does not answer.
pub(crate) fn start(url: &str) -> anyhow::Result<Listener> {
    let address = url
        .strip_prefix("mqtt://")
        .with_context(|| format!("{url} is not mqtt://HOST:PORT"))?;
    let (host, port) = address
        .trim_end_matches('/')
        .rsplit_once(':')
        .unwrap_or((address, "1883"));
    let port = port.parse().with_context(|| format!("{url}: {port:?} is no port"))?;
    let options = MqttOptions::new(format!("kith-demo-{}", std::process::id()), Broker::tcp(host, port));
    let (client, mut connection) = Client::builder(options).capacity(16).build();
    client.subscribe("kith/demo/camera/door/event", QoS::AtLeastOnce)?;
    client.subscribe("kith/demo/status", QoS::AtLeastOnce)?;
    let (sender, heard) = channel();
    thread::Builder::new().name("subscriber".into()).spawn(move || {
        // Keeps the client alive as long as its connection is polled.
        let _client = client;
        for event in connection.iter() {
            let failed = event.is_err();
            if hand_on(event, &sender).is_none() || failed {
                break;
            }
        }
    })?;
    let listener = Listener { heard };
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut subscriptions = 2;
    while subscriptions > 0 {
        match listener
            .next(deadline)
            .with_context(|| format!("the broker at {url} does not answer"))?
        {
            Heard::Subscribed => subscriptions -= 1,
            Heard::Lost(reason) => bail!("can't subscribe at {url}: {reason}"),
            // A retained status of an earlier demo.
            Heard::Offline | Heard::Event(_) => {}
        }
    }
    Ok(listener)
}

fn hand_on(event: Result<Event, rumqttc::ConnectionError>, sender: &Sender<Heard>) -> Option<()> {
    let heard = match event {
        Ok(Event::Incoming(Incoming::SubAck(_))) => Heard::Subscribed,
        Ok(Event::Incoming(Incoming::Publish(publish))) if publish.topic.ends_with(b"/status") => {
            if publish.retain || publish.payload.as_ref() != b"offline" {
                return Some(());
            }
            Heard::Offline
        }
        Ok(Event::Incoming(Incoming::Publish(publish))) => Heard::Event(serde_json::from_slice(&publish.payload).ok()?),
        Ok(_) => return Some(()),
        Err(error) => Heard::Lost(error.to_string()),
    };
    sender.send(heard).ok()
}

impl Listener {
    /// Prints each event as it arrives until the daemon says that it goes, and returns the visits in their order.
    ///
    /// # Errors
    /// When the deadline passes or the broker is lost.
    pub(crate) fn until_offline(&self, deadline: Instant) -> anyhow::Result<Vec<Passage>> {
        let mut passages: Vec<Passage> = Vec::new();
        loop {
            match self.next(deadline)? {
                Heard::Event(event) => {
                    print(&event);
                    note(&event, &mut passages);
                }
                Heard::Offline => return Ok(passages),
                Heard::Lost(reason) => bail!("lost the broker: {reason}"),
                Heard::Subscribed => {}
            }
        }
    }

    /// Waits for the first `recognized`, and says when it came.
    ///
    /// # Errors
    /// When the deadline passes, the daemon goes or the broker is lost.
    pub(crate) fn first_recognition(&self, deadline: Instant) -> anyhow::Result<Instant> {
        loop {
            match self.next(deadline)? {
                Heard::Event(event) if event["event_type"] == "recognized" => return Ok(Instant::now()),
                Heard::Event(_) | Heard::Subscribed => {}
                Heard::Offline => bail!("the daemon went before it recognised anybody"),
                Heard::Lost(reason) => bail!("lost the broker: {reason}"),
            }
        }
    }

    fn next(&self, deadline: Instant) -> anyhow::Result<Heard> {
        self.heard
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            .map_err(|error| match error {
                RecvTimeoutError::Timeout => anyhow!("nothing came in time"),
                RecvTimeoutError::Disconnected => anyhow!("the subscriber ended"),
            })
    }
}

/// Keeps the last verdict of each track.
fn note(event: &Value, passages: &mut Vec<Passage>) {
    let name = match event["event_type"].as_str() {
        Some("recognized" | "corrected") => event["person"]["name"].as_str().map(str::to_string),
        Some("unknown") => None,
        _ => return,
    };
    let track = event["track"].as_str().unwrap_or_default().to_string();
    match passages.iter_mut().find(|passage| passage.track == track) {
        Some(passage) => passage.name = name,
        None => passages.push(Passage { track, name }),
    }
}

/// One line for an event: when, what, who, how sure.
fn print(event: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    // When it was said: who left was seen last some seconds before.
    let time = text(&event["published_at"]);
    let time = time.get(11..19).unwrap_or(&time);
    let kind = text(&event["event_type"]);
    let who = match (event["person"]["name"].as_str(), event["similar_to"]["name"].as_str()) {
        (Some(name), _) => name.to_string(),
        (None, Some(similar)) => format!("somebody unknown, most like {similar}"),
        (None, None) => "somebody unknown".to_string(),
    };
    let detail = match (
        kind.as_str(),
        event["duration_s"].as_f64(),
        event["confidence"].as_f64(),
    ) {
        ("left", Some(seconds), _) => format!("after {seconds:.1} s"),
        (_, _, Some(confidence)) => format!("{:.0} %", confidence * 100.0),
        _ => String::new(),
    };
    println!("  {time}  {kind:<12} {who}, {detail}");
}
