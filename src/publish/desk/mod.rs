//! The publisher's desk: hears what there is to say, keeps the latest of each state, and sends it when there is a
//! connection. One task, which never waits for the broker.
//!
//! What goes first: fresh events, then states, then the log. After a connection all states are sent anew, Home
//! Assistant's devices first, and the node's `online` last, so that who sees it can trust the rest.
//!
//! - `house`: from what is heard to states
//! - `retained`: what the broker should hold, and what it holds
//! - `discovery`: Home Assistant's picture of us
//! - `fresh`, `log`: the two ways of an event
//! - `requests`: what we are asked over MQTT
//! - `goodbye`: the last words
//! - `sending`: in which order all that goes to the client

mod discovery;
mod fresh;
mod goodbye;
mod house;
mod log;
mod requests;
mod retained;
mod sending;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use rumqttc::mqttbytes::QoS;
use rumqttc::{AsyncClient, PublishNoticeError, PublishOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Saying;
use super::link::{Heard, LinkEvent};
use super::outbox::{FromOutbox, ToOutbox};
use super::presence::Sighting;
use super::record::{Component, Kept};
use super::states::StatsSource;
use super::topics::Topics;
use crate::config::HomeAssistantSettings;
use crate::frame::CameraId;
use crate::heartbeat::Pulse;
use discovery::Discovery;
use fresh::Fresh;
use house::House;
use log::Log;
use requests::{Answer, Requests};
pub use requests::{Asked, LARGEST_REQUEST_BYTES};
use retained::Retained;

/// Messages on their way at a time. More would queue in the client, where an event could grow old.
const WINDOW: usize = 16;
/// How often the desk looks at the clock.
const TICK: Duration = Duration::from_millis(250);
/// From when on the networks take long to open: then `status` is `offline`, whatever a daemon of before left there.
const OPENS_LATE: Duration = Duration::from_secs(5);
/// How often `stats` is published.
const STATS_EVERY: Duration = Duration::from_secs(60);
/// What a message needs besides topic and payload, at most.
const PACKET_HEAD_BYTES: usize = 64;

/// How the publisher ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Farewell {
    /// Not yet.
    Stay,
    /// Send what waits, the log included, but no longer than until then; then say `offline` and disconnect.
    Until(Instant),
}

/// The desk and all that it hears.
pub struct Desk {
    /// The node's id.
    pub node: Arc<str>,
    /// Where things are said.
    pub topics: Topics,
    /// States of the daemon.
    pub sayings: mpsc::Receiver<Saying>,
    /// The outbox's answers.
    pub from_outbox: mpsc::Receiver<FromOutbox>,
    /// The way to the outbox. Sending must not wait here, so what finds no room is sent again at the next tick.
    pub to_outbox: SyncSender<ToOutbox>,
    /// What was ever retained under our name.
    pub record: Vec<Kept>,
    /// The connection.
    pub link: mpsc::Receiver<LinkEvent>,
    /// When to end.
    pub farewell: watch::Receiver<Farewell>,
    /// How long a person stays `ON`.
    pub presence_hold: Duration,
    /// The cameras.
    pub cameras: Vec<CameraId>,
    /// Whether pictures of faces are published.
    pub faces: bool,
    /// Home Assistant, if it is told of us.
    pub home_assistant: Option<HomeAssistantSettings>,
    /// Who answers requests, if they are allowed.
    pub requests: Option<mpsc::Sender<Asked>>,
    /// Where the numbers come from.
    pub stats: StatsSource,
    /// The desk's sign of life, and with it that of all that shares its thread.
    pub pulse: Pulse,
}

/// A message that was sent and is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sent {
    Event,
    /// A retained topic, and whether it was cleared.
    State(String, bool),
    Online,
    Log(i64),
    Parting(Vec<Component>),
    Other,
}

/// What became of a message that was handed to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handed {
    Over,
    /// The client has no room now, or there is none.
    NotNow,
    /// The broker takes no message of this size.
    Never,
}

/// A connection that is up.
struct Connection {
    client: AsyncClient,
    /// The largest packet that the broker takes, if it says so.
    largest_packet_bytes: Option<u32>,
    /// When `offline` is to be said if the networks are not open by then; `None` once it was.
    offline_at: Option<Instant>,
}

struct Work {
    topics: Topics,
    sayings: mpsc::Receiver<Saying>,
    from_outbox: mpsc::Receiver<FromOutbox>,
    to_outbox: SyncSender<ToOutbox>,
    /// What the outbox had no room for yet, in order.
    for_outbox: VecDeque<ToOutbox>,
    farewell: watch::Receiver<Farewell>,
    stats: StatsSource,
    stats_at: Instant,
    pulse: Pulse,
    connection: Option<Connection>,
    /// Counts connections; an answer of an older one says nothing about this one.
    connections: u64,
    underway: JoinSet<(u64, Sent, Result<(), PublishNoticeError>)>,
    house: House,
    retained: Retained,
    discovery: Discovery,
    /// Parts of devices that are not on record yet.
    parts_to_record: usize,
    online_said: bool,
    fresh: Fresh,
    log: Log,
    requests: Requests,
    /// At the farewell: whether the outbox was asked whether it has said all, and whether it has.
    flush_asked: bool,
    outbox_flushed: bool,
}

impl Desk {
    /// Works until the farewell. Returns how many events were too old to be sent on `event`.
    pub async fn run(self) -> u64 {
        let mut link = self.link;
        let mut recorded = BTreeSet::new();
        let mut parts = Vec::new();
        for kept in self.record {
            match kept {
                Kept::Topic(topic) => drop(recorded.insert(topic)),
                Kept::Component(part) => parts.push(part),
            }
        }
        let permanent = ["status", "stats"].map(|what| self.topics.node(what));
        let mut work = Work {
            house: House::new(self.topics.clone(), &self.cameras, self.presence_hold),
            retained: Retained::new(recorded, permanent),
            discovery: Discovery::new(self.home_assistant, self.node, self.topics.clone(), self.faces, parts),
            requests: Requests::new(self.requests, self.topics.clone()),
            topics: self.topics,
            sayings: self.sayings,
            from_outbox: self.from_outbox,
            to_outbox: self.to_outbox,
            for_outbox: VecDeque::new(),
            farewell: self.farewell,
            stats: self.stats,
            pulse: self.pulse,
            stats_at: Instant::now(),
            connection: None,
            connections: 0,
            underway: JoinSet::new(),
            parts_to_record: 0,
            online_said: false,
            fresh: Fresh::default(),
            log: Log::new(),
            flush_asked: false,
            outbox_flushed: false,
        };
        work.house.begin(&mut work.retained);
        work.run(&mut link).await;
        work.fresh.too_old()
    }
}

impl Work {
    async fn run(&mut self, link: &mut mpsc::Receiver<LinkEvent>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.pulse.beat();
            self.send_what_waits();
            let farewell = *self.farewell.borrow();
            if let Farewell::Until(deadline) = farewell {
                if !self.flush_asked && self.for_outbox.is_empty() {
                    self.flush_asked = self.to_outbox.try_send(ToOutbox::Flush).is_ok();
                }
                if self.all_is_said() || Instant::now() >= deadline {
                    break;
                }
            }
            tokio::select! {
                Some(saying) = self.sayings.recv() => self.hear(saying),
                Some(answer) = self.from_outbox.recv() => self.outbox_said(answer),
                Some(event) = link.recv() => self.link_said(event),
                Some(Ok((connection, sent, outcome))) = self.underway.join_next() => {
                    self.answered(connection, sent, &outcome);
                }
                Some(answer) = self.requests.answer() => self.respond(answer),
                Ok(()) = self.farewell.changed() => {}
                _ = tick.tick() => self.look_at_the_clock(),
            }
        }
        self.say_goodbye(link).await;
    }

    fn hear(&mut self, saying: Saying) {
        let retained = &mut self.retained;
        match saying {
            Saying::Camera { camera, online } => self.house.camera(&camera, online, retained),
            Saying::InView {
                camera,
                people,
                unknown,
            } => self.house.in_view(&camera, (people, unknown), retained),
            Saying::Seen {
                person,
                camera,
                at,
                confidence,
                event,
            } => {
                let sighting = Sighting {
                    person,
                    camera,
                    at,
                    confidence,
                    event,
                };
                self.house.seen(sighting, Instant::now(), retained);
            }
            Saying::Face { camera, jpeg } => {
                // A picture is no state: without a connection it is not kept.
                let topic = self.topics.camera(&camera, "face");
                self.publish(Sent::Other, &topic, jpeg, PublishOptions::at_most_once());
            }
            Saying::Enrolled(people) => {
                let everybody = people.iter().map(|person| person.uid).collect();
                self.for_outbox.push_back(ToOutbox::Enrolled(everybody));
                self.house.enrolled(people, retained);
                self.devices_changed();
            }
            Saying::Reloaded {
                cameras,
                presence_hold,
                faces,
            } => {
                self.discovery.publish_faces(faces);
                self.house.reloaded(cameras, presence_hold, retained);
                self.devices_changed();
            }
            Saying::Info(info) => {
                self.house.info(*info, retained);
                self.devices_changed();
                // Who is enrolled was said before.
                self.retained.complete();
            }
        }
    }

    fn devices_changed(&mut self) {
        if self.house.is_open() {
            let (remember, forget) = self.discovery.update(&self.house, &mut self.retained);
            self.change_record(remember, forget);
        }
    }

    fn change_record(&mut self, remember: Vec<Kept>, forget: Vec<Kept>) {
        if !remember.is_empty() {
            self.parts_to_record += remember.len();
            self.retained.let_discovery_wait(true);
            self.for_outbox.push_back(ToOutbox::Remember(remember));
        }
        if !forget.is_empty() {
            self.for_outbox.push_back(ToOutbox::Forget(forget));
        }
    }

    fn outbox_said(&mut self, answer: FromOutbox) {
        match answer {
            FromOutbox::Committed { event, json } => {
                self.log.grew();
                self.fresh.push(event, json);
            }
            FromOutbox::Rows(rows) => self.log.read(rows),
            FromOutbox::Remembered(kept) => {
                for one in kept {
                    match one {
                        Kept::Topic(topic) => self.retained.remembered(topic),
                        Kept::Component(_) => self.parts_to_record = self.parts_to_record.saturating_sub(1),
                    }
                }
                self.retained.let_discovery_wait(self.parts_to_record > 0);
            }
            FromOutbox::Grew => self.log.grew(),
            FromOutbox::Flushed => self.outbox_flushed = true,
        }
    }

    fn link_said(&mut self, event: LinkEvent) {
        match event {
            LinkEvent::Up {
                client,
                largest_packet_bytes,
            } => {
                self.disconnected();
                let topics = self
                    .requests
                    .topics()
                    .into_iter()
                    .chain(self.discovery.birth_topic().map(str::to_owned));
                for topic in topics {
                    if let Err(error) = client.try_subscribe(topic.as_str(), QoS::AtLeastOnce) {
                        tracing::warn!(%error, topic, "can't subscribe");
                    }
                }
                self.connection = Some(Connection {
                    client,
                    largest_packet_bytes,
                    offline_at: Some(Instant::now() + OPENS_LATE),
                });
                self.discovery.connected();
                self.retained.say_again();
                self.stats_at = Instant::now();
            }
            LinkEvent::Down => self.disconnected(),
            LinkEvent::Heard(heard) => self.heard(&heard),
        }
    }

    fn disconnected(&mut self) {
        self.connection = None;
        self.connections += 1;
        self.online_said = false;
        self.fresh.disconnected();
        self.retained.disconnected();
        self.log.begin_again();
    }

    fn heard(&mut self, heard: &Heard) {
        if self.discovery.birth_topic() == Some(heard.topic.as_str()) {
            // A retained one was there before us, and all was announced when we came.
            if heard.payload == b"online" && !heard.retained {
                tracing::debug!("Home Assistant is there");
                self.discovery.born(Instant::now());
            }
        } else if let Some(answer) = self.requests.hear(heard, Instant::now()) {
            self.respond(answer);
        }
    }

    fn respond(&mut self, answer: Answer) {
        let options = PublishOptions::at_least_once();
        self.publish(Sent::Other, &answer.topic, answer.payload.into_bytes(), options);
    }

    fn answered(&mut self, connection: u64, sent: Sent, outcome: &Result<(), PublishNoticeError>) {
        // An acknowledgement counts whenever it was given; that there was none says something about this connection
        // only.
        if let (Sent::Log(number), Ok(())) = (&sent, outcome) {
            self.log.acknowledged(*number);
        }
        if connection != self.connections {
            return;
        }
        if let Err(error) = outcome {
            // Such as an access list that forbids the topic. Asking again at once would change nothing; the next
            // connection does.
            tracing::warn!(%error, ?sent, "the broker did not take a message");
        }
        match sent {
            Sent::Event => self.fresh.was_answered(),
            Sent::State(topic, cleared) => {
                if self.retained.answered(&topic, cleared && outcome.is_ok()) {
                    self.for_outbox.push_back(ToOutbox::Forget(vec![Kept::Topic(topic)]));
                }
            }
            Sent::Parting(parts) if outcome.is_ok() => {
                let (remember, forget) = self.discovery.answered(parts);
                self.change_record(remember, forget);
            }
            Sent::Log(_) => self.log.was_answered(),
            Sent::Parting(_) | Sent::Online | Sent::Other => {}
        }
    }

    /// After a power cut the broker may still hold the `online` of a daemon that said nothing more.
    fn say_that_it_is_not_open_yet(&mut self, now: Instant) {
        let is_due = |connection: &Connection| connection.offline_at.is_some_and(|at| now >= at);
        if self.house.is_open() || !self.connection.as_ref().is_some_and(is_due) {
            return;
        }
        let status = self.topics.node("status");
        if self.publish(Sent::Online, &status, b"offline".to_vec(), retained()) != Handed::NotNow
            && let Some(connection) = &mut self.connection
        {
            connection.offline_at = None;
        }
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        self.say_that_it_is_not_open_yet(now);
        self.house.look_at_the_clock(now, &mut self.retained);
        if self.discovery.is_due(now) {
            self.retained.say_again();
            self.online_said = false;
        }
        if self.connection.is_some() && now >= self.stats_at {
            self.stats_at = now + STATS_EVERY;
            let payload = self.stats.json().to_string().into_bytes();
            let options = PublishOptions::at_most_once().retained();
            self.publish(Sent::Other, &self.topics.node("stats"), payload, options);
        }
    }
}

fn retained() -> PublishOptions {
    PublishOptions::new(QoS::AtLeastOnce).retained()
}
