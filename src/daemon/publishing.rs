//! Outbox, desk and connection: what is said leaves the daemon through them.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::config::Settings;
use crate::metrics::Instruments;
use crate::publish::{self, Depth, Desk, Farewell, Outbox, Saying, StatsSource, ToOutbox, Topics};

/// States that may wait for the desk; a worker waits when it is full, which is never longer than the desk needs.
const ROOM: usize = 1024;

pub(super) struct Publishing {
    pub(super) sayings: mpsc::Sender<Saying>,
    pub(super) outbox: SyncSender<ToOutbox>,
    outbox_thread: thread::JoinHandle<()>,
    pub(super) farewell: watch::Sender<Farewell>,
    desk: tokio::task::JoinHandle<u64>,
    depth: Depth,
}

impl Publishing {
    pub(super) fn start(
        runtime: &Runtime,
        outbox: Outbox,
        options: rumqttc::MqttOptions,
        topics: Topics,
        settings: &Settings,
        instruments: &Instruments,
    ) -> anyhow::Result<Self> {
        let (sayings, to_desk) = mpsc::channel(ROOM);
        let (answers, from_outbox) = mpsc::channel(ROOM);
        let (link_events, link) = mpsc::channel(4);
        let (farewell, until) = watch::channel(Farewell::Stay);
        let depth = outbox.depth();
        let (outbox, outbox_thread) = outbox.beating(instruments.heartbeats.pulse("outbox")).start(answers)?;
        runtime.spawn(publish::link(options, link_events, instruments.connection.clone()));
        let desk = Desk {
            topics,
            sayings: to_desk,
            from_outbox,
            to_outbox: outbox.clone(),
            link,
            farewell: until,
            presence_hold: settings.presence_hold,
            cameras: settings.cameras.iter().map(|camera| camera.id.clone()).collect(),
            stats: StatsSource::new(
                instruments.cameras.clone(),
                Arc::clone(&instruments.engine),
                depth.clone(),
            ),
            pulse: instruments.heartbeats.pulse("desk"),
        };
        Ok(Self {
            sayings,
            outbox,
            outbox_thread,
            farewell,
            desk: runtime.spawn(desk.run()),
            depth,
        })
    }

    pub(super) fn say(&self, saying: Saying) {
        let _ = self.sayings.blocking_send(saying);
    }

    /// Sends what waits, until `deadline` at most, says `offline`, and closes the outbox.
    pub(super) fn end(self, runtime: &Runtime, deadline: Instant) {
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
