//! Outbox, desk and connection, wired together.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use super::Saying;
use super::connection::Connection;
use super::desk::{Asked, Desk, Farewell};
use super::link::{self, options};
use super::outbox::{Depth, Outbox, ToOutbox};
use super::record::Kept;
use super::states::StatsSource;
use super::topics::Topics;
use crate::config::{HomeAssistantSettings, MqttSettings};
use crate::frame::CameraId;
use crate::heartbeat::Heartbeats;

/// States that may wait for the desk; a worker waits when it is full, which is never longer than the desk needs.
const ROOM: usize = 1024;

/// What is to be published and where.
pub struct Publishing<'a> {
    /// The broker.
    pub mqtt: &'a MqttSettings,
    /// Home Assistant, if it is told of us.
    pub home_assistant: Option<HomeAssistantSettings>,
    /// The node's id.
    pub node: Arc<str>,
    /// The outbox.
    pub outbox: Outbox,
    /// The cameras.
    pub cameras: Vec<CameraId>,
    /// Whether pictures of faces are published.
    pub faces: bool,
    /// How long a person stays `ON`.
    pub presence_hold: Duration,
    /// Who answers requests, if they are allowed.
    pub requests: Option<mpsc::Sender<Asked>>,
    /// Told whether there is a broker.
    pub connection: Connection,
    /// Where the numbers come from, given the outbox's.
    pub stats: Box<dyn FnOnce(Depth) -> StatsSource + 'a>,
    /// Where the workers' signs of life go.
    pub heartbeats: &'a Heartbeats,
}

/// A publisher at work.
pub struct Publisher {
    /// Where states are told.
    pub sayings: mpsc::Sender<Saying>,
    /// Where events are told.
    pub outbox: SyncSender<ToOutbox>,
    /// How much waits.
    pub depth: Depth,
    outbox_thread: thread::JoinHandle<()>,
    /// How the desk learns that it is to end.
    pub farewell: watch::Sender<Farewell>,
    desk: tokio::task::JoinHandle<u64>,
}

impl Publisher {
    /// Opens the outbox and starts to connect; the connection's tasks run on `runtime`.
    ///
    /// # Errors
    /// When the outbox or the certificates can't be used.
    pub fn start(runtime: &Runtime, publishing: Publishing<'_>) -> anyhow::Result<Self> {
        let topics = Topics::new(&publishing.mqtt.base_topic, &publishing.node);
        let options = options(publishing.mqtt, &publishing.node, &topics)?;
        let mut outbox = publishing.outbox;
        // The broker may publish our will before we have said anything.
        outbox
            .remember(&["status", "stats"].map(|what| Kept::Topic(topics.node(what))))
            .context("can't write to the outbox")?;
        let record = outbox.record().context("can't read the outbox")?;
        let (sayings, to_desk) = mpsc::channel(ROOM);
        let (answers, from_outbox) = mpsc::channel(ROOM);
        let (link_events, link) = mpsc::channel(4);
        let (farewell, until) = watch::channel(Farewell::Stay);
        let depth = outbox.depth();
        let (outbox, outbox_thread) = outbox.beating(publishing.heartbeats.pulse("outbox")).start(answers)?;
        runtime.spawn(link::link(options, link_events, publishing.connection));
        let desk = Desk {
            node: publishing.node,
            topics,
            sayings: to_desk,
            from_outbox,
            to_outbox: outbox.clone(),
            record,
            link,
            farewell: until,
            presence_hold: publishing.presence_hold,
            cameras: publishing.cameras,
            faces: publishing.faces,
            home_assistant: publishing.home_assistant,
            requests: publishing.requests,
            stats: (publishing.stats)(depth.clone()),
            pulse: publishing.heartbeats.pulse("desk"),
        };
        Ok(Self {
            sayings,
            outbox,
            depth,
            outbox_thread,
            farewell,
            desk: runtime.spawn(desk.run()),
        })
    }

    /// Tells a state; waits while the desk has no room.
    pub fn say(&self, saying: Saying) {
        // The desk ends after everybody who says something, so this fails only while the daemon falls over.
        let _ = self.sayings.blocking_send(saying);
    }

    /// Sends what waits, until `deadline` at most, says `offline`, and closes the outbox.
    pub fn end(self, runtime: &Runtime, deadline: Instant) {
        let _ = self.farewell.send(Farewell::Until(deadline));
        match runtime.block_on(self.desk) {
            Ok(0) | Err(_) => {}
            Ok(too_old) => tracing::warn!(too_old, "events were too old for `event` and are in the log only"),
        }
        let _ = self.outbox.send(ToOutbox::Close);
        drop(self.outbox);
        let _ = self.outbox_thread.join();
        let rows = self.depth.rows();
        if rows > 0 {
            tracing::warn!(rows, "events wait in the outbox for the next start");
        }
    }
}
