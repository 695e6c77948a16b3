//! The publisher's desk: hears what there is to say, keeps the latest of each state, and sends it when there is a
//! connection. One task, which never waits for the broker.
//!
//! What goes first: fresh events, then states, then the log. After a connection all states are sent anew, and the
//! node's `online` last, so that who sees it can trust the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::PublishProperties;
use rumqttc::{AsyncClient, PublishNoticeError, PublishOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::Saying;
use super::link::LinkEvent;
use super::outbox::{FromOutbox, ToOutbox};
use super::presence::{Presence, Sighting};
use super::states::{self, Info, StatsSource};
use super::topics::Topics;
use crate::event::{Event, ulid_text};
use crate::frame::CameraId;
use crate::gallery::Person;
use crate::heartbeat::Pulse;

/// Messages on their way at a time. More would queue in the client, where an event could grow old.
const WINDOW: usize = 16;
/// Log rows on their way at a time, so that a long log leaves room for events.
const LOG_WINDOW: usize = 8;
/// When the broker has not acknowledged an event for so long, no further one is sent into a connection that may be
/// dead: it would come out late.
const SILENCE: Duration = Duration::from_secs(2);
/// An event with less life than this is not sent: the broker counts whole seconds.
const LEAST_LIFE: Duration = Duration::from_secs(1);
/// Fresh events that may wait; each lives ten seconds at most.
const MAX_FRESH: usize = 1024;
/// How often the desk looks at the clock.
const TICK: Duration = Duration::from_millis(250);
/// How often `stats` is published.
const STATS_EVERY: Duration = Duration::from_secs(60);

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
    /// Where things are said.
    pub topics: Topics,
    /// States of the daemon.
    pub sayings: mpsc::Receiver<Saying>,
    /// The outbox's answers.
    pub from_outbox: mpsc::Receiver<FromOutbox>,
    /// The way to the outbox. Sending must not wait here, so what finds no room is sent again at the next tick.
    pub to_outbox: SyncSender<ToOutbox>,
    /// The connection.
    pub link: mpsc::Receiver<LinkEvent>,
    /// When to end.
    pub farewell: watch::Receiver<Farewell>,
    /// How long a person stays `ON`.
    pub presence_hold: Duration,
    /// The cameras.
    pub cameras: Vec<CameraId>,
    /// Where the numbers come from.
    pub stats: StatsSource,
    /// The desk's sign of life, and with it that of all that shares its thread.
    pub pulse: Pulse,
}

/// A message that was sent and is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sent {
    Event,
    State(String),
    Online,
    Log(i64),
    Other,
}

struct Work {
    desk: Desk,
    client: Option<AsyncClient>,
    /// Counts connections; an answer of an older one says nothing about this one.
    connection: u64,
    underway: JoinSet<(u64, Sent, Result<(), PublishNoticeError>)>,
    states: BTreeMap<String, Vec<u8>>,
    unsent: BTreeSet<String>,
    states_underway: usize,
    online_said: bool,
    fresh: VecDeque<(Box<Event>, String)>,
    too_old: u64,
    /// When each event that is not acknowledged was sent; answers come in order.
    events_sent: VecDeque<Instant>,
    log: VecDeque<(i64, String)>,
    log_underway: usize,
    log_read_to: i64,
    /// Whether rows were asked for.
    log_asked: bool,
    /// Whether there may be rows that were not read.
    log_more: bool,
    acknowledged: VecDeque<i64>,
    /// At the farewell: whether the outbox was asked whether it has said all, and whether it has.
    flush_asked: bool,
    outbox_flushed: bool,
    presence: Presence,
    enrolled: HashMap<String, Person>,
    cameras_online: BTreeMap<CameraId, bool>,
    info: Option<Info>,
    stats_at: Instant,
}

impl Desk {
    /// Works until the farewell. Returns how many events were too old to be sent on `event`.
    pub async fn run(self) -> u64 {
        let mut link = self.link;
        let (_unused, nothing) = mpsc::channel(1);
        let cameras_online = self.cameras.iter().map(|camera| (camera.clone(), false)).collect();
        let presence = Presence::new(self.presence_hold);
        let desk = Self { link: nothing, ..self };
        let mut work = Work {
            desk,
            client: None,
            connection: 0,
            underway: JoinSet::new(),
            states: BTreeMap::new(),
            unsent: BTreeSet::new(),
            states_underway: 0,
            online_said: false,
            fresh: VecDeque::new(),
            too_old: 0,
            events_sent: VecDeque::new(),
            log: VecDeque::new(),
            log_underway: 0,
            log_read_to: 0,
            log_asked: false,
            log_more: true,
            acknowledged: VecDeque::new(),
            flush_asked: false,
            outbox_flushed: false,
            presence,
            enrolled: HashMap::new(),
            cameras_online,
            info: None,
            stats_at: Instant::now(),
        };
        work.cameras_changed();
        work.run(&mut link).await;
        work.too_old
    }
}

impl Work {
    async fn run(&mut self, link: &mut mpsc::Receiver<LinkEvent>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.desk.pulse.beat();
            self.send_what_waits();
            let farewell = *self.desk.farewell.borrow();
            if let Farewell::Until(deadline) = farewell {
                if !self.flush_asked {
                    self.flush_asked = self.desk.to_outbox.try_send(ToOutbox::Flush).is_ok();
                }
                if self.all_is_said() || Instant::now() >= deadline {
                    break;
                }
            }
            tokio::select! {
                Some(saying) = self.desk.sayings.recv() => self.hear(saying),
                Some(answer) = self.desk.from_outbox.recv() => self.outbox_said(answer),
                Some(event) = link.recv() => self.link_changed(event),
                Some(Ok((connection, sent, outcome))) = self.underway.join_next() => {
                    self.answered(connection, &sent, outcome);
                }
                Ok(()) = self.desk.farewell.changed() => {}
                _ = tick.tick() => self.look_at_the_clock(),
            }
        }
        self.say_goodbye(link).await;
    }

    fn hear(&mut self, saying: Saying) {
        let topics = self.desk.topics.clone();
        match saying {
            Saying::Camera { camera, online } => {
                self.cameras_online.insert(camera, online);
                self.cameras_changed();
            }
            Saying::InView {
                camera,
                people,
                unknown,
            } => {
                let payload = states::in_view(&people, unknown).to_string();
                self.state(topics.camera(&camera, "people"), payload);
            }
            Saying::Seen {
                person,
                camera,
                at,
                confidence,
                event,
            } => {
                // Somebody who was just removed may still be on the way here.
                if !self.enrolled.contains_key(&person.id) {
                    return;
                }
                let id = person.id.clone();
                let sighting = Sighting {
                    person,
                    camera,
                    at,
                    confidence,
                    event,
                };
                let change = self.presence.see(sighting, Instant::now());
                if change.comes {
                    self.state(topics.person(&id, "state"), "ON");
                }
                if change.attributes
                    && let Some(sighting) = self.presence.last(&id)
                {
                    let payload = states::attributes(sighting).to_string();
                    self.state(topics.person(&id, "attributes"), payload);
                }
            }
            Saying::Face { camera, jpeg } => {
                // A picture is no state: without a connection it is not kept.
                let options = PublishOptions::at_most_once();
                self.publish(Sent::Other, &topics.camera(&camera, "face"), jpeg, options);
            }
            Saying::Enrolled(people) => self.enrolled_changed(people),
            Saying::Reloaded { cameras, presence_hold } => self.reloaded(cameras, presence_hold),
            Saying::Info(info) => {
                self.info = Some(*info);
                self.info_changed();
            }
        }
    }

    fn reloaded(&mut self, cameras: Vec<CameraId>, presence_hold: Duration) {
        self.presence.set_hold(presence_hold);
        let topics = self.desk.topics.clone();
        let gone: Vec<CameraId> = self.cameras_online.keys().cloned().collect();
        for camera in gone.into_iter().filter(|camera| !cameras.contains(camera)) {
            self.cameras_online.remove(&camera);
            for what in ["status", "people"] {
                self.state(topics.camera(&camera, what), Vec::new());
            }
        }
        for camera in &cameras {
            self.cameras_online.entry(camera.clone()).or_insert(false);
        }
        if let Some(info) = &mut self.info {
            info.cameras = cameras;
        }
        self.cameras_changed();
        self.info_changed();
    }

    fn cameras_changed(&mut self) {
        let topics = self.desk.topics.clone();
        let word = |online: bool| if online { "online" } else { "offline" };
        for (camera, online) in self.cameras_online.clone() {
            self.state(topics.camera(&camera, "status"), word(online));
        }
        let sight = self.cameras_online.values().any(|online| *online);
        self.state(topics.node("sight"), word(sight));
    }

    fn enrolled_changed(&mut self, people: Vec<Person>) {
        let topics = self.desk.topics.clone();
        let now: HashMap<String, Person> = people.into_iter().map(|person| (person.id.clone(), person)).collect();
        for id in self.enrolled.keys().filter(|id| !now.contains_key(*id)) {
            self.presence.forget(id);
            // An empty retained message is how MQTT forgets one.
            for what in ["state", "attributes"] {
                let topic = topics.person(id, what);
                self.states.insert(topic.clone(), Vec::new());
                self.unsent.insert(topic);
            }
        }
        for id in now.keys().filter(|id| !self.enrolled.contains_key(*id)) {
            let topic = topics.person(id, "state");
            self.states.insert(topic.clone(), b"OFF".to_vec());
            self.unsent.insert(topic);
        }
        self.enrolled = now;
        self.info_changed();
    }

    fn info_changed(&mut self) {
        if let Some(info) = &mut self.info {
            info.people = self.enrolled.len();
            let payload = info.json().to_string();
            self.state(self.desk.topics.node("info"), payload);
        }
    }

    /// Sets a retained state, to be sent if it is new.
    fn state(&mut self, topic: String, payload: impl Into<Vec<u8>>) {
        let payload = payload.into();
        if self.states.get(&topic) != Some(&payload) {
            self.states.insert(topic.clone(), payload);
            self.unsent.insert(topic);
        }
    }

    fn outbox_said(&mut self, answer: FromOutbox) {
        match answer {
            FromOutbox::Committed { event, json } => {
                self.log_more = true;
                self.fresh.push_back((event, json));
                if self.fresh.len() > MAX_FRESH {
                    self.fresh.pop_front();
                    self.too_old += 1;
                }
            }
            FromOutbox::Rows(rows) => {
                self.log_asked = false;
                self.log_more = !rows.is_empty();
                // Rows that were asked for before a new connection may be read again from the beginning.
                let next = self.log_read_to;
                for (number, json) in rows.into_iter().filter(|(number, _)| *number > next) {
                    self.log_read_to = number;
                    self.log.push_back((number, json));
                }
            }
            FromOutbox::Flushed => self.outbox_flushed = true,
        }
    }

    fn link_changed(&mut self, event: LinkEvent) {
        self.events_sent.clear();
        self.log.clear();
        self.log_underway = 0;
        self.states_underway = 0;
        self.log_read_to = 0;
        self.log_more = true;
        self.online_said = false;
        self.connection += 1;
        self.client = match event {
            LinkEvent::Up(client) => {
                self.unsent = self.states.keys().cloned().collect();
                self.stats_at = Instant::now();
                Some(client)
            }
            LinkEvent::Down => None,
        };
    }

    fn answered(&mut self, connection: u64, sent: &Sent, outcome: Result<(), PublishNoticeError>) {
        // An acknowledgement counts whenever it was given; that there was none says something about this connection
        // only.
        if let (Sent::Log(number), Ok(())) = (sent, &outcome) {
            self.acknowledged.push_back(*number);
        }
        if connection != self.connection {
            return;
        }
        match sent {
            Sent::Event => {
                self.events_sent.pop_front();
            }
            Sent::State(_) | Sent::Online => self.states_underway = self.states_underway.saturating_sub(1),
            Sent::Log(_) => self.log_underway = self.log_underway.saturating_sub(1),
            Sent::Other => {}
        }
        if let Err(error) = outcome {
            // Such as an access list that forbids the topic. Asking again at once would change nothing; the next
            // connection does.
            tracing::warn!(%error, ?sent, "the broker did not take a message");
        }
    }

    fn look_at_the_clock(&mut self) {
        let now = Instant::now();
        for id in self.presence.gone(now) {
            self.state(self.desk.topics.person(&id, "state"), "OFF");
        }
        if self.client.is_some() && now >= self.stats_at {
            self.stats_at = now + STATS_EVERY;
            let payload = self.desk.stats.json().to_string();
            let options = PublishOptions::at_most_once().retained();
            self.publish(
                Sent::Other,
                &self.desk.topics.node("stats"),
                payload.into_bytes(),
                options,
            );
        }
    }

    /// Sends as much as may be on its way at a time.
    fn send_what_waits(&mut self) {
        while let Some(number) = self.acknowledged.front() {
            if self.desk.to_outbox.try_send(ToOutbox::Acknowledged(*number)).is_err() {
                break; // Its inbox is full; the next tick tries again.
            }
            self.acknowledged.pop_front();
        }
        self.send_events();
        if self.client.is_none() {
            return;
        }
        while self.underway.len() < WINDOW {
            let Some(topic) = self.unsent.pop_first() else { break };
            let payload = self.states.get(&topic).cloned().unwrap_or_default();
            if payload.is_empty() {
                self.states.remove(&topic);
            }
            if self.publish(Sent::State(topic.clone()), &topic, payload, retained()) {
                self.states_underway += 1;
            } else {
                self.unsent.insert(topic);
                break;
            }
        }
        // Until the networks are open nobody is recognised, so the node isn't there yet.
        if self.info.is_some() && !self.online_said && self.unsent.is_empty() && self.states_underway == 0 {
            let topic = self.desk.topics.node("status");
            self.online_said = self.publish(Sent::Online, &topic, b"online".to_vec(), retained());
            self.states_underway += usize::from(self.online_said);
        }
        while self.log_underway < LOG_WINDOW && self.underway.len() < WINDOW {
            let Some((number, json)) = self.log.pop_front() else {
                break;
            };
            let topic = self.desk.topics.node("log");
            let options = PublishOptions::at_least_once();
            if self.publish(Sent::Log(number), &topic, json.clone().into_bytes(), options) {
                self.log_underway += 1;
            } else {
                self.log.push_front((number, json));
                break;
            }
        }
        if self.log_more && !self.log_asked && self.log.is_empty() {
            let read = ToOutbox::Read {
                after: self.log_read_to,
                limit: LOG_WINDOW,
            };
            self.log_asked = self.desk.to_outbox.try_send(read).is_ok();
        }
    }

    /// Sends fresh events, and gives up those that are too old for `event`; they are in the log.
    fn send_events(&mut self) {
        let now = Instant::now();
        while let Some((event, json)) = self.fresh.front() {
            let left = event.life_left(now);
            if left < LEAST_LIFE {
                self.too_old += 1;
                tracing::warn!(
                    track = ulid_text(event.track),
                    "an event grew too old for `event`; it is in the log only"
                );
                self.fresh.pop_front();
                continue;
            }
            let silent = self
                .events_sent
                .front()
                .is_some_and(|sent| now.saturating_duration_since(*sent) > SILENCE);
            if self.client.is_none() || silent || self.underway.len() >= WINDOW {
                return;
            }
            let options = PublishOptions::at_least_once().properties(PublishProperties {
                // Rounded down: it must not outlive its life. At least 1, by `LEAST_LIFE`.
                message_expiry_interval: u32::try_from(left.as_secs()).ok(),
                content_type: Some("application/json".to_owned()),
                ..PublishProperties::default()
            });
            let topic = self.desk.topics.event(event);
            let payload = json.clone().into_bytes();
            if !self.publish(Sent::Event, &topic, payload, options) {
                return;
            }
            self.events_sent.push_back(now);
            self.fresh.pop_front();
        }
    }

    /// Hands a message to the client; its answer comes through `underway`. `false` when it can't take one now.
    fn publish(&mut self, sent: Sent, topic: &str, payload: Vec<u8>, options: PublishOptions) -> bool {
        let Some(client) = &self.client else { return false };
        match client.try_publish_tracked(topic, payload, options) {
            Ok(notice) => {
                let connection = self.connection;
                self.underway
                    .spawn(async move { (connection, sent, notice.wait_completion_async().await) });
                true
            }
            Err(error) => {
                tracing::debug!(%error, topic, "the client takes no message now");
                false
            }
        }
    }

    fn all_is_said(&self) -> bool {
        self.client.is_some()
            && self.online_said
            && self.fresh.is_empty()
            && self.unsent.is_empty()
            && self.underway.is_empty()
            && self.log.is_empty()
            && !self.log_more
            && !self.log_asked
            && self.acknowledged.is_empty()
            && self.outbox_flushed
            && self.desk.sayings.is_empty()
            && self.desk.from_outbox.is_empty()
    }

    /// Says `offline`, waits a moment for the broker to hear it, and disconnects.
    async fn say_goodbye(&mut self, link: &mut mpsc::Receiver<LinkEvent>) {
        const PATIENCE: Duration = Duration::from_secs(2);
        for online in self.cameras_online.values_mut() {
            *online = false;
        }
        self.cameras_changed();
        let topics = self.desk.topics.clone();
        let Some(client) = self.client.clone() else { return };
        for topic in std::mem::take(&mut self.unsent) {
            let payload = self.states.get(&topic).cloned().unwrap_or_default();
            self.publish(Sent::State(topic.clone()), &topic, payload, retained());
        }
        self.publish(Sent::Online, &topics.node("status"), b"offline".to_vec(), retained());
        let heard = async {
            while let Some(answer) = self.underway.join_next().await {
                if let Ok((_, Sent::Log(number), Ok(()))) = answer {
                    self.acknowledged.push_back(number);
                }
            }
            // A clean farewell keeps the broker from publishing the will.
            if client.disconnect().await.is_ok() {
                while let Some(event) = link.recv().await {
                    if matches!(event, LinkEvent::Down) {
                        break;
                    }
                }
            }
        };
        if tokio::time::timeout(PATIENCE, heard).await.is_err() {
            tracing::warn!("the broker did not hear our farewell; it will publish our will");
        }
        for number in self.acknowledged.drain(..) {
            let _ = self.desk.to_outbox.try_send(ToOutbox::Acknowledged(number));
        }
    }
}

fn retained() -> PublishOptions {
    PublishOptions::new(QoS::AtLeastOnce).retained()
}
