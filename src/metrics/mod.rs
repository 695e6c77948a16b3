//! What is counted of a running daemon, as Prometheus reads it. The numbers live beside what they count; they are
//! gathered when somebody asks, so that the way of a frame pays nothing for it. No names of people, and no ids either:
//! whoever may see a graph need not know who lives there.

mod process;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};

pub use process::Process;

use crate::camera::{Reading, Roster, Slot};
use crate::engine::Meter;
use crate::frame::CameraId;
use crate::heartbeat::{Heartbeats, Silent};
use crate::publish::{Connection, Depth};
use crate::runtime::ProviderInUse;
use crate::visits::Tally;

/// Upper bounds of the histograms of times, in seconds: from a run on a graphics card to one that hangs.
pub const STAGE_SECONDS: [f64; 11] = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];

/// All that is counted of a running daemon.
#[derive(Debug)]
pub struct Instruments {
    /// When the daemon started.
    pub started: Timestamp,
    /// The workers' signs of life.
    pub heartbeats: Heartbeats,
    /// A worker that is silent for so long makes the daemon end.
    pub silence: Duration,
    /// The cameras.
    pub cameras: Roster,
    /// The networks.
    pub engine: Arc<Meter>,
    /// The outbox.
    pub outbox: Depth,
    /// The connection to the broker.
    pub connection: Connection,
    /// People enrolled.
    pub people: AtomicUsize,
    /// What runs the networks and which they are, once they are open and the cameras are watched.
    pub open: RwLock<Option<(ProviderInUse, Arc<str>)>>,
}

impl Instruments {
    /// So many people are enrolled.
    pub fn set_people(&self, people: usize) {
        self.people.store(people, Ordering::Relaxed);
    }

    /// The networks are open on `provider`, and cameras are watched with `model`. Said at the end of the start, and when
    /// a card was lost.
    pub fn set_open(&self, provider: &ProviderInUse, model: &Arc<str>) {
        *self.open.write().unwrap_or_else(PoisonError::into_inner) = Some((provider.clone(), Arc::clone(model)));
    }

    fn open(&self) -> Option<(ProviderInUse, Arc<str>)> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the daemon lacks to do its work; empty when it is ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let networks = self.open().is_none().then_some("networks");
        let broker = (!self.connection.is_up()).then_some("broker");
        networks.into_iter().chain(broker).collect()
    }

    /// The workers that have been silent at `now` for half of the time after which the daemon ends for it.
    pub fn silent(&self, now: Instant) -> Vec<Silent> {
        self.heartbeats.silent(now, self.silence / 2)
    }

    /// How the daemon lives at `now`, as `/health` and `kith health` tell it.
    pub fn health(&self, now: Instant) -> Value {
        let up = Timestamp::now().duration_since(self.started);
        let silent = self.silent(now);
        let workers: Vec<Value> = silent
            .iter()
            .map(|one| json!({"worker": one.worker, "silent_s": one.since.as_secs()}))
            .collect();
        json!({"healthy": silent.is_empty(), "up_s": up.as_secs().max(0), "silent": workers})
    }

    /// What goes on, in a line for whoever supervises the daemon.
    pub fn line(&self) -> String {
        let cameras = self.cameras.all();
        let deliver = cameras.iter().filter(|(_, slot)| slot.is_online()).count();
        let broker = if self.connection.is_up() {
            "broker connected"
        } else {
            "no broker"
        };
        let provider = match self.open() {
            None => "networks not open".to_owned(),
            Some((in_use, _)) => in_use.in_short(),
        };
        format!(
            "{deliver} of {} cameras deliver, {} people enrolled, {broker}, {} events wait, {provider}",
            cameras.len(),
            self.people.load(Ordering::Relaxed),
            self.outbox.rows(),
        )
    }
}

/// All figures in Prometheus' text format, version 0.0.4.
///
/// # Errors
/// When a figure can't be written as text, which none of them does.
pub fn page(instruments: &Arc<Instruments>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Gathered(Arc::clone(instruments))));
    let mut page = String::new();
    prometheus_text::encode(&mut page, &registry)?;
    Ok(page)
}

#[derive(Debug)]
struct Gathered(Arc<Instruments>);

impl Collector for Gathered {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.0.node(&mut page)?;
        let cameras = self.0.cameras.all();
        frames(&cameras, &mut page)?;
        visits(&cameras, &mut page)?;
        self.0.networks(&mut page)?;
        self.0.publishing(&mut page)?;
        self.0.process(&mut page)
    }
}

impl Instruments {
    fn node(&self, page: &mut Page<'_>) -> fmt::Result {
        page.info(
            "kith_build",
            "Always 1; the version of Kith",
            &[("version", env!("CARGO_PKG_VERSION"))],
        )?;
        if let Some((in_use, model)) = self.open() {
            page.info(
                "kith_runtime",
                "Always 1, once the networks are open; what really runs them, and the networks that name somebody",
                &[("provider", in_use.provider.name()), ("model", &model)],
            )?;
            let networks = in_use
                .networks
                .iter()
                .map(|proof| ([proof.network, proof.provider.name(), proof.proven.name()], 1));
            page.family(
                MetricType::Gauge,
                "kith_network_provider",
                "Always 1, once the networks are open; what really runs each network, and how that is known",
                ["network", "provider", "proven"],
                networks,
            )?;
            page.gauge(
                "kith_card_lost",
                "1 while the CPU runs the networks although a graphics card was found or asked for by name, else 0",
                f64::from(u8::from(in_use.lost.is_some())),
            )?;
        }
        let people = self.people.load(Ordering::Relaxed);
        page.gauge("kith_people_enrolled", "People who are enrolled", as_f64(people as u64))
    }

    fn networks(&self, page: &mut Page<'_>) -> fmt::Result {
        let engine = &self.engine;
        page.histogram(
            "kith_detect_seconds",
            "Time to search one frame for faces",
            engine.detections.seconds(),
        )?;
        page.histogram(
            "kith_embed_seconds",
            "Time of one run of the embedding network, which takes all faces that wait",
            engine.embeddings.seconds(),
        )?;
        page.counter(
            "kith_embedded_faces",
            "Faces that were embedded",
            engine.embeddings.so_far().0,
        )?;
        page.counter(
            "kith_network_failures",
            "Runs of a network that failed",
            engine.failures.load(Ordering::Relaxed),
        )
    }

    fn publishing(&self, page: &mut Page<'_>) -> fmt::Result {
        page.histogram(
            "kith_event_commit_seconds",
            "Time from the capture of the deciding frame until its event is on disk, ready to be sent",
            self.outbox.committed_after_seconds(),
        )?;
        page.gauge(
            "kith_outbox_rows",
            "Events that the broker has not acknowledged on `log` yet",
            as_f64(self.outbox.rows()),
        )?;
        page.counter(
            "kith_outbox_failed_events",
            "Events that could not be written to the outbox, and so were never published",
            self.outbox.failed(),
        )?;
        page.gauge(
            "kith_broker_connected",
            "1 while there is a connection to the broker, else 0",
            f64::from(u8::from(self.connection.is_up())),
        )?;
        page.counter(
            "kith_broker_connections",
            "Connections to the broker; all but the first are reconnections",
            self.connection.count(),
        )
    }

    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        if let Some(process) = Process::now() {
            page.write(
                "process_cpu_seconds",
                "Processor time of the daemon in user and kernel mode, without its decoders",
                &ConstCounter::new(process.cpu_s),
            )?;
            page.gauge(
                "process_resident_memory_bytes",
                "Memory of the daemon that is in RAM, without its decoders",
                as_f64(process.resident_bytes),
            )?;
            page.gauge("process_threads", "Threads of the daemon", as_f64(process.threads))?;
            page.gauge(
                "process_open_fds",
                "Open files, sockets and pipes",
                as_f64(process.open_fds),
            )?;
            if let Some(max_fds) = process.max_fds {
                page.gauge("process_max_fds", "So many of them may be open", as_f64(max_fds))?;
            }
        }
        page.gauge(
            "process_start_time_seconds",
            "When the daemon started, in seconds since 1970",
            self.started.as_duration().as_secs_f64(),
        )
    }
}

type Cameras = [(CameraId, Arc<Slot>)];

fn frames(cameras: &Cameras, page: &mut Page<'_>) -> fmt::Result {
    use MetricType::{Counter, Gauge};
    let mut of_cameras = |kind, name, help, value: &dyn Fn(&Slot) -> u64| {
        let values = cameras.iter().map(|(id, slot)| ([&**id], value(slot)));
        page.family(kind, name, help, ["camera"], values)
    };
    of_cameras(
        Gauge,
        "kith_camera_up",
        "1 while the camera delivers, else 0; a file or folder that came to its end is 0",
        &|slot| u64::from(slot.is_online()),
    )?;
    of_cameras(
        Counter,
        "kith_camera_openings",
        "Times that the camera was opened, tries that failed included",
        &|slot| slot.meter().read().opened,
    )?;
    of_cameras(
        Counter,
        "kith_camera_frames",
        "Frames that the camera delivered",
        &|slot| slot.counts().0,
    )?;
    of_cameras(
        Counter,
        "kith_camera_frames_dropped",
        "Frames that were replaced by a newer one before the networks had time for them",
        &|slot| slot.counts().1,
    )?;
    of_cameras(
        Counter,
        "kith_camera_frames_old",
        "Frames that came too late from the camera and were thrown away",
        &|slot| slot.meter().read().old,
    )?;
    of_cameras(
        Counter,
        "kith_camera_frames_still",
        "Frames that were not searched, since nothing moved",
        &|slot| slot.meter().read().still,
    )?;
    let decoded = cameras.iter().filter_map(|(id, slot)| {
        let Reading { decode, .. } = slot.meter().read();
        Some(([&**id, decode?], 1))
    });
    page.family(
        Gauge,
        "kith_camera_decoder",
        "Always 1, once there was a picture; what decodes the camera's stream",
        ["camera", "decode"],
        decoded,
    )
}

fn visits(cameras: &Cameras, page: &mut Page<'_>) -> fmt::Result {
    let of_cameras = |value: fn(&Tally) -> u64| cameras.iter().map(move |(id, slot)| ([&**id], value(slot.tally())));
    page.family(
        MetricType::Gauge,
        "kith_tracks",
        "Faces that are followed at the moment",
        ["camera"],
        of_cameras(Tally::tracks),
    )?;
    page.family(
        MetricType::Counter,
        "kith_tracks_ended",
        "Faces that were followed and are gone, with or without an event about them",
        ["camera"],
        of_cameras(Tally::ended),
    )?;
    let events = cameras.iter().flat_map(|(id, slot)| {
        let events = slot.tally().events();
        events.map(|(event_type, count)| ([&**id, event_type], count))
    });
    page.family(
        MetricType::Counter,
        "kith_events",
        "Events that were made, by their event_type",
        ["camera", "event_type"],
        events,
    )
}

/// Writes figures, each with what it means.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn write(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }

    /// A counter; `_total` is added to its name.
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.write(name, help, &ConstCounter::new(value))
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.write(name, help, &ConstGauge::new(value))
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) -> fmt::Result {
        self.write(name, help, histogram)
    }

    /// Always 1, with labels; `_info` is added to its name.
    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        self.write(name, help, &Info::new(labels.to_vec()))
    }

    /// Counters or gauges of one name, told apart by `labels`.
    fn family<'v, const N: usize>(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        labels: [&str; N],
        values: impl Iterator<Item = ([&'v str; N], u64)>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (values_of_labels, value) in values {
            let labels: Vec<(&str, &str)> = labels.into_iter().zip(values_of_labels).collect();
            let one = family.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(one)?,
                _ => ConstGauge::new(as_f64(value)).encode(one)?,
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "bytes and counts of a moment, far below 2^53")]
fn as_f64(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
