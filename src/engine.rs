//! The engine thread: it alone owns the networks. Cameras' workers send it frames to be searched and crops to be
//! embedded; what waits at once is embedded in one run, and each worker has one frame at a time here, so that the
//! cameras take turns.
//!
//! Requests come over a bounded channel, and a worker that finds it full waits: it has no frame to lose by that, since
//! its slot keeps the latest one. Answers go to the worker's own inbox.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use image::RgbImage;
use prometheus_client::metrics::histogram::Histogram;

use crate::align::Alignment;
use crate::detect::Face;
use crate::embed::{EmbedError, Embedded};
use crate::frame::Frame;
use crate::heartbeat::{BEAT, Heartbeats, Pulse};
use crate::metrics::STAGE_SECONDS;
use crate::model::EmbedderModel;
use crate::networks::Networks;
use crate::runtime::{Provider, ProviderInUse, RuntimeSettings, WhenCardIsLost};

/// Requests that may wait; more than the workers' frames and shots together in any sane house.
const ROOM: usize = 64;
/// After so many failures in a row the card or the library is gone, not one picture bad.
const FAILURES_UNTIL_DEAD: u32 = 10;
/// A graphics card looks for the fastest way at the first picture of a size, which takes seconds, and is no hang for so
/// long, however impatient the settings are. TensorRT's engines are built ahead.
const FIRST_RUN: Duration = Duration::from_secs(60);
/// Opening the networks on the CPU takes a second; a slow disk may take longer.
const OPEN: Duration = Duration::from_secs(60);

/// What a worker asks for.
pub enum Request {
    /// The faces of a frame.
    Detect {
        /// The frame; it comes back with the answer.
        frame: Frame,
        /// The smallest face that is looked for, in pixels.
        min_face_px: u32,
        /// Takes the answer.
        answer: DetectAnswer,
    },
    /// The embedding of an aligned crop.
    Embed {
        /// The crop.
        aligned: RgbImage,
        /// Takes the answer.
        answer: EmbedAnswer,
    },
}

/// Takes a frame back with its faces, or `None` where the network failed (which was logged).
pub type DetectAnswer = Box<dyn FnOnce(Frame, Option<Vec<Face>>) + Send>;
/// Takes an embedding, or `None` where the network failed (which was logged).
pub type EmbedAnswer = Box<dyn FnOnce(Option<Embedded>) + Send>;

/// What the engine says about itself once the networks are open.
#[derive(Debug, Clone)]
pub struct EngineFacts {
    /// What really runs the networks and why.
    pub provider: ProviderInUse,
    /// The catalogue's entry of the embedding network.
    pub embedder: EmbedderModel,
    /// How a face is cut out for the embedding network.
    pub alignment: Alignment,
}

/// What the engine has to tell the daemon.
pub enum EngineNews {
    /// The outcome of opening the networks; the first, and said once.
    Opened(Box<anyhow::Result<EngineFacts>>),
    /// The card failed again and again, and from now on the CPU runs the networks.
    CardLost(Box<ProviderInUse>),
    /// The networks fail for good. The last.
    Died,
}

/// Times and counts, read by the statistics.
#[derive(Debug, Default)]
pub struct Meter {
    /// Frames searched, and the microseconds that took.
    pub detections: Stage,
    /// Crops embedded, and the microseconds that took.
    pub embeddings: Stage,
    /// Runs of a network that failed.
    pub failures: AtomicU64,
}

/// One stage's count and time since the start.
#[derive(Debug)]
pub struct Stage {
    count: AtomicU64,
    runs: AtomicU64,
    spent_us: AtomicU64,
    seconds: Histogram,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            runs: AtomicU64::new(0),
            spent_us: AtomicU64::new(0),
            seconds: Histogram::new(STAGE_SECONDS),
        }
    }
}

impl Stage {
    fn add(&self, count: usize, spent: Duration) {
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.spent_us
            .fetch_add(u64::try_from(spent.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.seconds.observe(spent.as_secs_f64());
    }

    /// Seconds of each run.
    pub fn seconds(&self) -> &Histogram {
        &self.seconds
    }

    /// In how many runs, since the start: crops that wait together are one run.
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// How many there were and how long they took, since the start.
    pub fn so_far(&self) -> (u64, Duration) {
        let spent = Duration::from_micros(self.spent_us.load(Ordering::Relaxed));
        (self.count.load(Ordering::Relaxed), spent)
    }
}

/// Starts the engine. `tell` is called from its thread.
///
/// # Errors
/// When the system can't start a thread.
pub fn start(
    settings: RuntimeSettings,
    meter: Arc<Meter>,
    heartbeats: Heartbeats,
    tell: impl Fn(EngineNews) + Send + 'static,
) -> std::io::Result<(SyncSender<Request>, thread::JoinHandle<()>)> {
    let (sender, requests) = sync_channel(ROOM);
    let thread = thread::Builder::new().name("engine".to_owned()).spawn(move || {
        let began = Instant::now();
        match Networks::open(&settings) {
            Ok(networks) => {
                #[cfg(feature = "fault")]
                let networks = crate::fault::with_a_card(crate::fault::in_place_of(networks));
                let facts = EngineFacts {
                    provider: networks.provider.clone(),
                    embedder: networks.embedder.model().clone(),
                    alignment: networks.embedder.alignment(),
                };
                say_what_is_open(&facts, began.elapsed());
                // From now on; opening may take as long as it does.
                let engine = Engine {
                    on_a_card: networks.provider.provider != Provider::Cpu,
                    networks,
                    settings,
                    meter,
                    pulse: heartbeats.pulse("engine"),
                    seen: HashSet::new(),
                    last_error: String::new(),
                };
                tell(EngineNews::Opened(Box::new(Ok(facts))));
                if !engine.run(&requests, &tell) {
                    tell(EngineNews::Died);
                }
            }
            Err(error) => tell(EngineNews::Opened(Box::new(Err(error)))),
        }
    })?;
    Ok((sender, thread))
}

fn say_what_is_open(facts: &EngineFacts, took: Duration) {
    tracing::info!(
        provider = %facts.provider,
        proven = facts.provider.proofs(),
        card = facts.provider.card.as_ref().map(tracing::field::display),
        embedder = %facts.embedder.name,
        took_ms = took.as_millis(),
        "the networks are open"
    );
    if let Some(reason) = facts.provider.why_lost() {
        tracing::warn!(
            %reason,
            "the CPU runs the networks although a graphics card should; if that is meant, set runtime.provider to \"cpu\""
        );
    }
}

struct Engine {
    networks: Networks,
    settings: RuntimeSettings,
    meter: Arc<Meter>,
    pulse: Pulse,
    /// Whether the first run of a shape takes longer.
    on_a_card: bool,
    seen: HashSet<Shape>,
    /// What the runtime said when a network failed last.
    last_error: String,
}

/// What a run's tensors hang on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shape {
    Frame {
        width_px: u32,
        height_px: u32,
        min_face_px: u32,
    },
    Crops(usize),
}

impl Engine {
    /// Serves until nobody can ask any more (`true`), or the networks fail again and again (`false`).
    fn run(mut self, requests: &Receiver<Request>, tell: &impl Fn(EngineNews)) -> bool {
        let mut detect = VecDeque::new();
        let mut embed = Vec::new();
        let mut failed_in_a_row = 0;
        loop {
            self.pulse.beat();
            let next = if detect.is_empty() && embed.is_empty() {
                match requests.recv_timeout(BEAT) {
                    Ok(request) => Some(request),
                    Err(RecvTimeoutError::Timeout) => continue,
                    Err(RecvTimeoutError::Disconnected) => return true,
                }
            } else {
                requests.try_recv().ok()
            };
            match next {
                Some(Request::Detect {
                    frame,
                    min_face_px,
                    answer,
                }) => {
                    detect.push_back((frame, min_face_px, answer));
                    continue; // Whatever else waits is taken in first, so that crops are embedded together.
                }
                Some(Request::Embed { aligned, answer }) => {
                    embed.push((aligned, answer));
                    continue;
                }
                None => {}
            }
            let well = if embed.is_empty() {
                detect
                    .pop_front()
                    .is_none_or(|(frame, min_face_px, answer)| self.detect(frame, min_face_px, answer))
            } else {
                self.embed(std::mem::take(&mut embed))
            };
            failed_in_a_row = if well { 0 } else { failed_in_a_row + 1 };
            if failed_in_a_row >= FAILURES_UNTIL_DEAD {
                tracing::error!("the networks failed {FAILURES_UNTIL_DEAD} times in a row");
                if !self.goes_on_without_card() {
                    return false;
                }
                tell(EngineNews::CardLost(Box::new(self.networks.provider.clone())));
                failed_in_a_row = 0;
            }
        }
    }

    /// Lets the CPU take over, where a card ran the networks and the settings allow that.
    fn goes_on_without_card(&mut self) -> bool {
        let lost = self.networks.provider.clone();
        if lost.provider == Provider::Cpu || self.settings.when_card_is_lost() != WhenCardIsLost::Cpu {
            return false;
        }
        self.pulse.patience(OPEN);
        self.settings.provider = Provider::Cpu;
        match Networks::open(&self.settings) {
            Ok(mut networks) => {
                if let Some(difference) = networks.differ_from(&self.networks) {
                    tracing::error!(
                        %difference,
                        "the CPU does not take over from the lost card: the models are not those of the start any more; the \
                         daemon ends, so that it starts with the new ones"
                    );
                    return false;
                }
                networks.provider = networks.provider.after_the_loss_of(&lost, &self.last_error);
                tracing::error!(
                    lost = %lost.provider,
                    card = lost.card.as_ref().map(tracing::field::display),
                    provider = %networks.provider,
                    proven = networks.provider.proofs(),
                    "the graphics card is lost; the CPU runs the networks until the next start"
                );
                #[cfg(feature = "fault")]
                let networks = crate::fault::in_place_of(networks);
                // Taken down in order, the old sessions would talk to the card, and may hang or abort with it.
                std::mem::forget(std::mem::replace(&mut self.networks, networks));
                self.on_a_card = false;
                self.pulse.hurry();
                true
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the CPU can't take over from the lost card"
                );
                false
            }
        }
    }

    /// Before each run: says how long it may take.
    fn begins(&mut self, shape: Shape) {
        if self.on_a_card && self.seen.insert(shape) {
            self.pulse.patience(FIRST_RUN);
        } else {
            self.pulse.hurry();
        }
    }

    fn detect(&mut self, frame: Frame, min_face_px: u32, answer: DetectAnswer) -> bool {
        let (width_px, height_px) = frame.pixels.dimensions();
        self.begins(Shape::Frame {
            width_px,
            height_px,
            min_face_px,
        });
        let began = Instant::now();
        let faces = self.networks.detector.detect(&frame.pixels, min_face_px);
        self.meter.detections.add(1, began.elapsed());
        let faces = self.unless_failed(faces, "detect");
        let well = faces.is_some();
        answer(frame, faces);
        well
    }

    fn embed(&mut self, asked: Vec<(RgbImage, EmbedAnswer)>) -> bool {
        let (crops, answers): (Vec<RgbImage>, Vec<EmbedAnswer>) = asked.into_iter().unzip();
        self.begins(Shape::Crops(crops.len()));
        let began = Instant::now();
        let embeddings = self.embeddings(&crops);
        self.meter.embeddings.add(crops.len(), began.elapsed());
        let embeddings = self.unless_failed(embeddings, "embed");
        let well = embeddings.is_some();
        let mut embeddings = embeddings.unwrap_or_default().into_iter();
        for answer in answers {
            answer(embeddings.next());
        }
        well
    }

    fn embeddings(&mut self, crops: &[RgbImage]) -> Result<Vec<Embedded>, EmbedError> {
        let embedder = &mut self.networks.embedder;
        #[cfg(feature = "fault")]
        if crate::fault::makes_up() {
            return Ok(crate::fault::vectors(crops.len(), embedder.model().embedding.values));
        }
        embedder.embed_all(crops)
    }

    fn unless_failed<T, E: std::fmt::Display>(&mut self, outcome: Result<T, E>, stage: &str) -> Option<T> {
        let outcome = outcome.map_err(|error| error.to_string());
        #[cfg(feature = "fault")]
        let outcome = if crate::fault::run_fails(self.networks.provider.provider) {
            Err("failed on demand".to_owned())
        } else {
            outcome
        };
        outcome
            .inspect_err(|error| {
                self.meter.failures.fetch_add(1, Ordering::Relaxed);
                self.last_error.clone_from(error);
                tracing::error!(stage, %error, "a network failed");
            })
            .ok()
    }
}
