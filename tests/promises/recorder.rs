//! A subscriber with a session that outlives its connections and the broker's restarts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use rumqttc::mqttbytes::QoS;
use rumqttc::{Broker as Address, Client, Event, Incoming, MqttOptions};
use serde_json::Value;

use crate::PATIENCE;

/// A JSON message, and when it came.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) topic: String,
    pub(crate) json: Value,
    pub(crate) heard_at: Timestamp,
}

#[derive(Default)]
struct Shared {
    messages: Mutex<Vec<Recorded>>,
    more: Condvar,
    is_over: AtomicBool,
}

/// Records events, from `event` topics and the log.
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    subscribed: Receiver<()>,
}

impl Recorder {
    /// Connects to the broker on `port` and waits until the subscription holds.
    pub(crate) fn to(port: u16) -> Self {
        let (say, subscribed) = channel();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let mut options = MqttOptions::new("recorder", Address::tcp("127.0.0.1", port));
        options.set_clean_start(false);
        options.set_session_expiry_interval(Some(24 * 3600));
        options.set_max_packet_size(Some(1024 * 1024));
        let (client, mut connection) = Client::builder(options).capacity(16).build();
        for topic in ["kith/+/log", "kith/+/camera/+/event"] {
            client.subscribe(topic, QoS::AtLeastOnce).unwrap();
        }
        thread::spawn(move || {
            // One client for all connections: it holds its half of the session.
            let _client = client;
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Incoming::Publish(publish))) => {
                        let recorded = Recorded {
                            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                            json: serde_json::from_slice(&publish.payload).unwrap(),
                            heard_at: Timestamp::now(),
                        };
                        of_thread.messages.lock().unwrap().push(recorded);
                        of_thread.more.notify_all();
                    }
                    Ok(Event::Incoming(Incoming::SubAck(_))) => {
                        let _ = say.send(());
                    }
                    Ok(_) => {}
                    Err(_) if of_thread.is_over.load(Ordering::Relaxed) => break,
                    // The broker is away.
                    Err(_) => thread::park_timeout(Duration::from_millis(100)),
                }
            }
        });
        let recorder = Self { shared, subscribed };
        for _ in 0..2 {
            recorder
                .subscribed
                .recv_timeout(PATIENCE)
                .expect("the subscription holds");
        }
        recorder
    }

    /// Waits until `enough` holds of what was recorded.
    pub(crate) fn wait(&self, what: &str, enough: impl Fn(&[Recorded]) -> bool) -> Vec<Recorded> {
        let (messages, timeout) = self
            .shared
            .more
            .wait_timeout_while(self.shared.messages.lock().unwrap(), PATIENCE, |messages| {
                !enough(messages)
            })
            .unwrap();
        // Out of the lock, so that a failure doesn't poison it for the next trial.
        let messages = messages.clone();
        assert!(!timeout.timed_out() || enough(&messages), "{what} was not recorded");
        messages
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}
