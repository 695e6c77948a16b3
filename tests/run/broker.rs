//! A real mosquitto on a free port, and a subscriber that writes down all that it hears.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rumqttc::mqttbytes::QoS;
use rumqttc::{Broker as Address, Client, Event, Incoming, MqttOptions};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::PATIENCE;

/// A running mosquitto; killed when dropped.
pub(crate) struct Broker {
    child: Child,
    pub(crate) port: u16,
    folder: tempfile::TempDir,
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Broker {
    /// Starts one that lets everybody in.
    pub(crate) fn start() -> Self {
        Self::start_on(free_port(), "allow_anonymous true")
    }

    /// Starts one on `port` with more lines of configuration.
    pub(crate) fn start_on(port: u16, lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let configuration = folder.path().join("mosquitto.conf");
        // As root it would drop its rights and then fail to read what is in our folder.
        let text = format!("listener {port} 127.0.0.1\nuser root\n{lines}\n");
        fs::write(&configuration, text).unwrap();
        // Debian has it where an ordinary user's PATH does not look.
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"]
            .into_iter()
            .find(|path| Path::new(path).exists())
            .unwrap_or("mosquitto");
        let child = Command::new(program)
            .arg("-c")
            .arg(&configuration)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("mosquitto is missing; `cargo xtask test` sets it up");
        let mut broker = Self { child, port, folder };
        broker.wait_until_it_listens();
        broker
    }

    fn wait_until_it_listens(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut said = String::new();
                self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
                panic!("mosquitto ended: {status}: {said}");
            }
            assert!(Instant::now() < deadline, "mosquitto does not listen on {}", self.port);
            thread::yield_now();
        }
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Has something retained.
    pub(crate) fn retain(&self, topic: &str, payload: &[u8]) {
        let subscriber = self.subscribe();
        let options = rumqttc::PublishOptions::at_least_once().retained();
        subscriber.client.publish(topic, payload.to_vec(), options).unwrap();
        subscriber.wait("our own word", |heard| {
            heard.iter().any(|message| message.topic == topic)
        });
    }

    /// Says something on a topic.
    pub(crate) fn publish(&self, topic: &str, payload: &[u8]) {
        self.subscribe().say(topic, payload);
    }

    /// Every retained topic with its payload.
    pub(crate) fn retained(&self) -> BTreeMap<String, Vec<u8>> {
        let subscriber = self.subscribe();
        // What is retained comes before what is said later.
        subscriber.say(&format!("test/{}", ulid::Ulid::generate()), b"");
        let heard = subscriber.all();
        let retained = heard.into_iter().filter(|message| message.retained);
        retained.map(|message| (message.topic, message.payload)).collect()
    }

    /// Ends it as an administrator would, and waits until it has ended.
    #[allow(dead_code, reason = "tests/promises does")]
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        self.child.wait().unwrap();
    }

    /// A folder that lives as long as the broker.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A subscriber to everything.
    pub(crate) fn subscribe(&self) -> Subscriber {
        Subscriber::to(self.port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A message as a subscriber gets it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// It was there before we subscribed.
    pub(crate) retained: bool,
    pub(crate) qos: QoS,
    pub(crate) expiry_s: Option<u32>,
    pub(crate) heard_at: jiff::Timestamp,
}

impl Message {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn is(&self, topic: &str, payload: &str) -> bool {
        self.topic == topic && self.text() == payload
    }
}

#[derive(Default)]
struct Heard {
    messages: Mutex<Vec<Message>>,
    more: Condvar,
}

/// Hears everything.
pub(crate) struct Subscriber {
    heard: Arc<Heard>,
    client: Client,
}

impl Subscriber {
    /// Connects to the broker on `port` and waits until the subscription holds.
    pub(crate) fn to(port: u16) -> Self {
        let mut options = MqttOptions::new(
            format!("test-{}", ulid::Ulid::generate()),
            Address::tcp("127.0.0.1", port),
        );
        options.set_max_packet_size(Some(16 * 1024 * 1024));
        let (client, mut connection) = Client::builder(options).capacity(16).build();
        client.subscribe("#", QoS::AtLeastOnce).unwrap();
        let heard = Arc::new(Heard::default());
        let writer = Arc::clone(&heard);
        let (subscribed, is_subscribed) = std::sync::mpsc::channel();
        thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        let message = Message {
                            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                            payload: publish.payload.to_vec(),
                            retained: publish.retain,
                            qos: publish.qos,
                            expiry_s: publish
                                .properties
                                .and_then(|properties| properties.message_expiry_interval),
                            heard_at: jiff::Timestamp::now(),
                        };
                        writer.messages.lock().unwrap().push(message);
                        writer.more.notify_all();
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => {
                        let _ = subscribed.send(());
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        });
        is_subscribed
            .recv_timeout(PATIENCE)
            .expect("the broker takes our subscription");
        Self { heard, client }
    }

    /// Says something, and waits until we hear it ourselves.
    pub(crate) fn say(&self, topic: &str, payload: &[u8]) {
        let before = self.all().len();
        let options = rumqttc::PublishOptions::at_least_once();
        self.client.publish(topic, payload.to_vec(), options).unwrap();
        self.wait("our own word", |heard| {
            heard[before..]
                .iter()
                .any(|message| message.topic == topic && message.payload == payload)
        });
    }

    /// All that was heard so far.
    pub(crate) fn all(&self) -> Vec<Message> {
        self.heard.messages.lock().unwrap().clone()
    }

    /// Waits until `enough` holds of what was heard.
    pub(crate) fn wait(&self, what: &str, enough: impl Fn(&[Message]) -> bool) -> Vec<Message> {
        self.wait_for(PATIENCE, what, enough)
    }

    /// As [`Self::wait`], but not longer than `time`.
    pub(crate) fn wait_for(&self, time: Duration, what: &str, enough: impl Fn(&[Message]) -> bool) -> Vec<Message> {
        let (messages, timeout) = self
            .heard
            .more
            .wait_timeout_while(self.heard.messages.lock().unwrap(), time, |messages| !enough(messages))
            .unwrap();
        // Out of the lock, so that a failure doesn't poison it for the next trial.
        let messages = messages.clone();
        assert!(
            !timeout.timed_out() || enough(&messages),
            "{what} was not heard within {time:?}; heard: {}",
            list(&messages)
        );
        messages
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.client.try_disconnect_now();
    }
}

/// Messages as lines.
pub(crate) fn list(messages: &[Message]) -> String {
    let line = |message: &Message| {
        let text: String = message.text().chars().take(300).collect();
        format!(
            "\n  {}{} {text}",
            message.topic,
            if message.retained { " (retained)" } else { "" }
        )
    };
    messages.iter().map(line).collect()
}

/// The payloads of `topic` as JSON, in order.
pub(crate) fn jsons(messages: &[Message], topic: &str) -> Vec<Value> {
    messages
        .iter()
        .filter(|message| message.topic == topic)
        .map(Message::json)
        .collect()
}
