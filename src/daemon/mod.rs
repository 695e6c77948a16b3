//! Wires the parts together, waits, and stops them in order.
//!
//! Threads: one reader and one worker for each camera, one engine, one outbox, one that watches the gallery, one that
//! remembers visits, one that watches over all of them; tokio has one thread for MQTT and signals. Networks, broker and
//! live cameras are opened at the same time; a file waits for the networks, so that nothing of it passes unseen.

mod cameras;
mod gallery_watch;
mod node;
mod supervisor;
mod watchdog;

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc as tokio_mpsc, watch};

use cameras::Cameras;
pub use cameras::check_camera;
use watchdog::{Watch, Watchdog};

use crate::config::Settings;
use crate::engine::{self, EngineFacts, Meter};
use crate::gallery::Gallery;
use crate::heartbeat::Heartbeats;
use crate::identify::IdentifierSource;
use crate::model::{EmbedderModel, Kind, ModelFile};
use crate::networks::{self, DETECTOR};
use crate::publish::{self, Depth, Desk, Farewell, Info, ModelInfo, Outbox, Saying, StatsSource, ToOutbox, Topics};
use crate::sightings::{Memory, Retention, Sightings};
use crate::state_dir;
use crate::stop::Stop;
use crate::watcher::SharedIdentifier;

/// How long the last messages may take, once everything was seen.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// As [`LAST_WORDS`], when we were told to stop.
const LAST_WORDS_ON_SIGNAL: Duration = Duration::from_secs(3);
/// States that may wait for the desk; a worker waits when it is full, which is never longer than the desk needs.
const ROOM: usize = 1024;

/// Why the daemon ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It was told to.
    ByWish,
    /// Every camera is a file or folder that came to its end.
    AllSeen,
    /// The networks fail for good.
    NetworksFailed,
}

/// What the main thread waits for.
enum News {
    Opened(Box<anyhow::Result<EngineFacts>>),
    CameraOver,
    EngineDied,
    Signal,
}

/// Runs until a signal, or until every camera came to its end. `state` is the state folder.
///
/// # Errors
/// When something without which nothing works can't be opened.
pub fn run(settings: &Settings, state: &Path) -> anyhow::Result<Ended> {
    let started = Timestamp::now();
    leave_when_a_thread_panics();
    state_dir::prepare(state)?;
    #[cfg(feature = "fault")]
    crate::fault::listen(state);
    let _alone = node::lock(state)?;
    let node: Arc<str> = node::id(settings.node.as_deref(), state)?.into();
    let (news_sender, news) = sync_channel(64);
    let meter = Arc::new(Meter::default());
    let heartbeats = Heartbeats::default();

    // The slowest first.
    let mut runtime_settings = settings.runtime.clone();
    let source = IdentifierSource::open(&settings.identify_by, &mut runtime_settings)?;
    let (opened, died) = (news_sender.clone(), news_sender.clone());
    let (engine, engine_thread) = engine::start(
        runtime_settings,
        Arc::clone(&meter),
        heartbeats.clone(),
        move |facts| tell(&opened, News::Opened(Box::new(facts))),
        move || tell(&died, News::EngineDied),
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("io")
        .enable_all()
        .build()
        .context("can't start the I/O thread")?;
    runtime.spawn(signals(news_sender.clone()));
    let stop = Stop::default();
    let mut cameras = Cameras::open(&settings.cameras, &stop, &heartbeats)?;
    let topics = Topics::new(&settings.mqtt.base_topic, &node);
    let options = publish::options(&settings.mqtt, &node, &topics)?;
    let outbox = Outbox::open(state)?;
    let (memory, memory_thread) = remember(state, settings.retention, &heartbeats);
    let stats = StatsSource::new(cameras.slots(), Arc::clone(&meter), outbox.depth());
    let publishing = Publishing::start(&runtime, outbox, options, topics, settings, stats, &heartbeats)?;
    let watchdog = Watchdog::start(Watch {
        heartbeats: heartbeats.clone(),
        silence: settings.watchdog_silence,
        farewell: publishing.farewell.clone(),
        status: Box::new(|| "running".to_owned()),
    })?;
    tracing::info!(%node, broker = %format!("{}:{}", settings.mqtt.host, settings.mqtt.port), "started");

    let facts = match wait_for_networks(&news) {
        Ok(Some(facts)) => facts,
        other => {
            supervisor::stopping("stopping");
            stop.set();
            cameras.join();
            publishing.end(&runtime, Instant::now());
            watchdog.end();
            return other.map(|_| Ended::ByWish);
        }
    };
    for person in source.prepare(&mut Gallery::open(state)?)? {
        tracing::info!(person = person.id, "a class of the head got a person without photos");
    }
    let gallery = Gallery::open_read_only(state)?;
    let identifier: SharedIdentifier = Arc::new(RwLock::new(source.identifier(Some(&gallery))?));
    let people = gallery.people()?;
    if people.is_empty() {
        tracing::warn!("nobody is enrolled, so everybody is unknown; add people with `kith enroll NAME PHOTO…`");
    }
    let networks = networks_in_use(settings, &facts.embedder, &source)?;
    // In this order: once `info` is there, the node is `online`.
    let enrolled = people.len();
    if let Some(memory) = &memory {
        memory.people(people.iter().map(|summary| summary.person.uid).collect());
    }
    publishing.say(gallery_watch::enrolled(people));
    publishing.say(Saying::Info(Box::new(Info {
        provider: facts.provider.clone(),
        models: networks.files,
        cameras: settings.cameras.iter().map(|camera| camera.id.clone()).collect(),
        people: enrolled,
        started,
    })));
    let gallery_thread = gallery_watch::start(
        gallery,
        source,
        Arc::clone(&identifier),
        publishing.sayings.clone(),
        memory.clone(),
        stop.beating(heartbeats.pulse("gallery")),
    )?;
    cameras.watch(&cameras::Wiring {
        settings,
        node: &node,
        facts: &facts,
        model: &networks.model,
        identifier: &identifier,
        engine: &engine,
        outbox: &publishing.outbox,
        sayings: &publishing.sayings,
        memory: memory.as_ref(),
        over: &|| {
            let news = news_sender.clone();
            Box::new(move || tell(&news, News::CameraOver))
        },
    })?;
    drop(engine);
    // Not only once the broker is there: until then events wait in the outbox, and a broker that is away must not make
    // the supervisor give up on us.
    watchdog.ready();

    let ended = wait(&news, settings.cameras.len());
    match ended {
        Ended::ByWish => tracing::info!("stopping; once more stops at once"),
        Ended::AllSeen => tracing::info!("every camera came to its end"),
        Ended::NetworksFailed => tracing::error!("stopping, since nothing can be recognised any more"),
    }
    supervisor::stopping("stopping");
    stop.set();
    cameras.stop();
    let _ = gallery_thread.join();
    if let (Some(memory), Some(thread)) = (memory, memory_thread) {
        memory.close();
        let _ = thread.join();
    }
    let last_words = if ended == Ended::AllSeen {
        LAST_WORDS
    } else {
        LAST_WORDS_ON_SIGNAL
    };
    publishing.end(&runtime, Instant::now() + last_words);
    let _ = engine_thread.join();
    watchdog.end();
    runtime.shutdown_background();
    Ok(ended)
}

/// Starts to remember visits. Without them the daemon still recognises people, so what is wrong is told, and that is all.
fn remember(
    state: &Path,
    retention: Retention,
    heartbeats: &Heartbeats,
) -> (Option<Memory>, Option<thread::JoinHandle<()>>) {
    match Sightings::start(state, retention, heartbeats.pulse("sightings")) {
        Ok((memory, thread)) => (Some(memory), Some(thread)),
        Err(error) => {
            tracing::error!(%error, "visits are not remembered");
            (None, None)
        }
    }
}

/// A worker that fell over must not leave a daemon behind that says `online` and sees nothing: the process ends, the
/// broker publishes the will, and the supervisor starts it again.
fn leave_when_a_thread_panics() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::exit(101);
    }));
}

fn tell(news: &SyncSender<News>, what: News) {
    // The main thread outlives everybody who tells it something, or is leaving.
    let _ = news.try_send(what);
}

/// Waits for the networks; `None` when a signal came first.
fn wait_for_networks(news: &Receiver<News>) -> anyhow::Result<Option<EngineFacts>> {
    loop {
        match news.recv()? {
            News::Opened(facts) => return facts.map(Some),
            News::Signal => return Ok(None),
            News::CameraOver | News::EngineDied => {}
        }
    }
}

fn wait(news: &Receiver<News>, cameras: usize) -> Ended {
    let mut over = 0;
    loop {
        match news.recv() {
            Ok(News::CameraOver) => {
                over += 1;
                if over == cameras {
                    return Ended::AllSeen;
                }
            }
            Ok(News::EngineDied) => return Ended::NetworksFailed,
            Ok(News::Signal) | Err(_) => return Ended::ByWish,
            Ok(News::Opened(_)) => {}
        }
    }
}

/// Tells of the first signal; leaves at once at the second.
async fn signals(news: SyncSender<News>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("can't listen for signals; only kill -9 will end this");
        return;
    };
    let mut asked = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if asked {
            std::process::exit(130);
        }
        asked = true;
        tell(&news, News::Signal);
    }
}

/// Outbox, desk and connection.
struct Publishing {
    sayings: tokio_mpsc::Sender<Saying>,
    outbox: SyncSender<ToOutbox>,
    outbox_thread: thread::JoinHandle<()>,
    farewell: watch::Sender<Farewell>,
    desk: tokio::task::JoinHandle<u64>,
    depth: Depth,
}

impl Publishing {
    fn start(
        runtime: &Runtime,
        outbox: Outbox,
        options: rumqttc::MqttOptions,
        topics: Topics,
        settings: &Settings,
        stats: StatsSource,
        heartbeats: &Heartbeats,
    ) -> anyhow::Result<Self> {
        let (sayings, to_desk) = tokio_mpsc::channel(ROOM);
        let (answers, from_outbox) = tokio_mpsc::channel(ROOM);
        let (link_events, link) = tokio_mpsc::channel(4);
        let (farewell, until) = watch::channel(Farewell::Stay);
        let depth = outbox.depth();
        let (outbox, outbox_thread) = outbox.beating(heartbeats.pulse("outbox")).start(answers)?;
        runtime.spawn(publish::link(options, link_events));
        let desk = Desk {
            topics,
            sayings: to_desk,
            from_outbox,
            to_outbox: outbox.clone(),
            link,
            farewell: until,
            presence_hold: settings.presence_hold,
            cameras: settings.cameras.iter().map(|camera| camera.id.clone()).collect(),
            stats,
            pulse: heartbeats.pulse("desk"),
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

    fn say(&self, saying: Saying) {
        let _ = self.sayings.blocking_send(saying);
    }

    /// Sends what waits, until `deadline` at most, says `offline`, and closes the outbox.
    fn end(self, runtime: &Runtime, deadline: Instant) {
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

/// The networks in use, as they are named to others.
struct NetworksInUse {
    /// In events: the embedder and perhaps the head, each with the first digits of its sha256.
    model: Arc<str>,
    /// In `info`.
    files: Vec<ModelInfo>,
}

fn networks_in_use(
    settings: &Settings,
    embedder: &EmbedderModel,
    source: &IdentifierSource,
) -> anyhow::Result<NetworksInUse> {
    let head = match source {
        IdentifierSource::Head(head) => Some(head.model()),
        IdentifierSource::Gallery { .. } => None,
    };
    let catalogue = networks::catalogue(&settings.runtime)?;
    let in_use = catalogue.models().filter(|model| match model.kind {
        Kind::Detector => model.name == DETECTOR,
        Kind::Embedder => model.name == embedder.name,
        Kind::Head => head.is_some_and(|head| model.name == head.name),
    });
    let files = in_use.flat_map(|model| {
        model.files.iter().map(|(role, file)| ModelInfo {
            name: format!("{}/{role}", model.name),
            sha256: file.sha256.clone(),
        })
    });
    let with_digits = |name: &str, file: &ModelFile| format!("{name}-{}", file.sha256.get(..8).unwrap_or(&file.sha256));
    let mut model = with_digits(&embedder.name, &embedder.file);
    if let Some(head) = head {
        model = format!("{model}+{}", with_digits(&head.name, &head.file));
    }
    Ok(NetworksInUse {
        model: model.into(),
        files: files.collect(),
    })
}
