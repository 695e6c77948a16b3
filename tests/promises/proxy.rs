//! A proxy between the daemon and its broker that can be cut, and that reads along: which events were sent, which were
//! acknowledged, and when a connection was taken. MQTT 5, as far as that needs (OASIS standard, 2019, chapters 2, 3).

use std::collections::{BTreeSet, HashMap};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::PATIENCE;

/// How often a thread that waits for bytes looks whether the network was cut or the test is over.
const LOOK: Duration = Duration::from_millis(20);

/// What went through.
#[derive(Debug, Default, Clone)]
pub(crate) struct Notes {
    /// Ids that were sent on an `event` topic.
    pub(crate) on_event: BTreeSet<String>,
    /// Ids of rows of the log that the broker acknowledged.
    pub(crate) acknowledged: BTreeSet<String>,
    /// Ids that an acknowledged `gap` record names.
    pub(crate) in_gaps: BTreeSet<String>,
    /// When the broker took a connection.
    pub(crate) connected: Vec<Instant>,
}

#[derive(Default)]
struct Shared {
    notes: Mutex<Notes>,
    more: Condvar,
    is_cut: AtomicBool,
    is_over: AtomicBool,
}

/// The running proxy.
pub(crate) struct Proxy {
    /// Where the daemon connects to.
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Starts one before the broker on `broker_port`.
    pub(crate) fn start(broker_port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for daemon in listener.incoming() {
                if of_thread.is_over.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(daemon), Ok(broker)) = (daemon, TcpStream::connect(("127.0.0.1", broker_port))) else {
                    continue; // The broker is away: the daemon's connection is closed at once.
                };
                connect(&of_thread, &daemon, &broker);
            }
        });
        Self { port, shared }
    }

    /// Lets nothing through in either direction; connections stay open and silent, as when a cable is pulled.
    pub(crate) fn cut(&self) {
        self.shared.is_cut.store(true, Ordering::Relaxed);
    }

    /// Lets everything through again.
    pub(crate) fn mend(&self) {
        self.shared.is_cut.store(false, Ordering::Relaxed);
    }

    /// What went through so far.
    pub(crate) fn notes(&self) -> Notes {
        self.shared.notes.lock().unwrap().clone()
    }

    /// Waits until `enough` holds.
    pub(crate) fn wait(&self, what: &str, enough: impl Fn(&Notes) -> bool) -> Notes {
        let (notes, timeout) = self
            .shared
            .more
            .wait_timeout_while(self.shared.notes.lock().unwrap(), PATIENCE, |notes| !enough(notes))
            .unwrap();
        // Out of the lock, so that a failure doesn't poison it for the next trial.
        let notes = notes.clone();
        assert!(
            !timeout.timed_out() || enough(&notes),
            "{what} did not go through the proxy"
        );
        notes
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Logged events that were sent on one connection and not acknowledged yet, by packet identifier.
type Underway = Arc<Mutex<HashMap<u16, Value>>>;

fn connect(shared: &Arc<Shared>, daemon: &TcpStream, broker: &TcpStream) {
    let underway = Underway::default();
    for (from, to, is_daemons) in [(daemon, broker, true), (broker, daemon, false)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let (shared, underway) = (Arc::clone(shared), Arc::clone(&underway));
        thread::spawn(move || {
            pump(&shared, &from, &to, is_daemons, &underway);
            let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
        });
    }
}

fn pump(shared: &Shared, mut from: &TcpStream, mut to: &TcpStream, is_daemons: bool, underway: &Underway) {
    from.set_read_timeout(Some(LOOK)).unwrap();
    let mut bytes = [0; 16 * 1024];
    let mut unread = Vec::new();
    while !shared.is_over.load(Ordering::Relaxed) {
        if shared.is_cut.load(Ordering::Relaxed) {
            thread::park_timeout(LOOK);
            continue;
        }
        let count = match from.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => return,
        };
        unread.extend_from_slice(&bytes[..count]);
        // Noted before it is passed on: what the daemon has heard, we know.
        while let Some((kind, body, length)) = packet(&unread) {
            let body = body.to_vec();
            unread.drain(..length);
            if is_daemons {
                sent(shared, kind, &body, underway);
            } else {
                answered(shared, kind, &body, underway);
            }
        }
        if to.write_all(&bytes[..count]).is_err() {
            return;
        }
    }
}

/// The first packet of `bytes`, if it is whole: its first byte, what follows its length, and how long it is in all.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (length, digits) = number(bytes.get(1..)?)?;
    let end = 1 + digits + length;
    Some((bytes[0], bytes.get(1 + digits..end)?, end))
}

/// A variable byte integer (1.5.5), and how many bytes it takes.
fn number(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

/// Notes a PUBLISH of the daemon.
fn sent(shared: &Shared, kind: u8, body: &[u8], underway: &Underway) {
    if kind >> 4 != 3 {
        return;
    }
    let topic_end = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
    let topic = std::str::from_utf8(&body[2..topic_end]).unwrap();
    let (is_event, is_log) = (topic.ends_with("/event"), topic.ends_with("/log"));
    if !is_event && !is_log {
        return;
    }
    assert_ne!(kind & 0x06, 0, "{topic} without acknowledgement");
    let identifier = u16::from_be_bytes([body[topic_end], body[topic_end + 1]]);
    let properties = &body[topic_end + 2..];
    let (length, digits) = number(properties).unwrap();
    let json: Value = serde_json::from_slice(&properties[digits + length..]).unwrap();
    if is_log {
        underway.lock().unwrap().insert(identifier, json);
    } else {
        note(shared, |notes| notes.on_event.insert(id(&json["id"])));
    }
}

/// Notes a CONNACK, or what a PUBACK acknowledges.
fn answered(shared: &Shared, kind: u8, body: &[u8], underway: &Underway) {
    match kind >> 4 {
        2 => note(shared, |notes| notes.connected.push(Instant::now())),
        4 => {
            let identifier = u16::from_be_bytes([body[0], body[1]]);
            let is_refused = body.get(2).is_some_and(|reason| *reason >= 0x80);
            let Some(json) = underway.lock().unwrap().remove(&identifier).filter(|_| !is_refused) else {
                return;
            };
            note(shared, |notes| {
                notes.acknowledged.insert(id(&json["id"]));
                let named = json["ids"].as_array().into_iter().flatten();
                notes.in_gaps.extend(named.map(id));
            });
        }
        _ => {}
    }
}

fn id(json: &Value) -> String {
    json.as_str().expect("an id").to_owned()
}

fn note<T>(shared: &Shared, change: impl FnOnce(&mut Notes) -> T) {
    change(&mut shared.notes.lock().unwrap());
    shared.more.notify_all();
}
