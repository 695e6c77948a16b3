//! Wires the parts together, waits, reloads, and stops them in order.
//!
//! - `cameras`: a reader and a worker each
//! - `gallery`: the thread that owns the gallery
//! - `publishing`: outbox, desk, connection
//! - `watchdog`, `supervisor`: hangs, and systemd
//! - `reload`: what of a new configuration can be taken over
//! - `signals`, `node`, `in_use`: small things beside
//!
//! Threads: one reader and one worker for each camera, one engine, one outbox, one gallery, one that
//! remembers visits, one that watches over
//! all of them; tokio has one
//! thread for MQTT, HTTP, the socket and signals. Networks, broker and live cameras are opened at the same time; a file
//! waits for the networks, so that nothing of it passes unseen.

mod cameras;
mod gallery;
mod in_use;
mod node;
mod reload;
mod requests;
mod signals;
mod supervisor;
mod watchdog;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use jiff::Timestamp;
use serde_json::{Value, json};

use cameras::{Cameras, Wiring};
use gallery::GalleryDesk;
use in_use::{NetworksInUse, networks_in_use};
pub(crate) use node::lock;
pub use node::would_be as node_id;
use reload::FileWatch;
use watchdog::{Watch, Watchdog};

use crate::admin::{Answer, Asked, Handler, Socket, Verb};
use crate::camera::Roster;
use crate::config::{ConfigError, Settings};
use crate::engine::{self, EngineFacts, EngineNews, Meter};
use crate::event::time_text;
use crate::frame::CameraId;
use crate::gallery::Gallery;
use crate::heartbeat::{BEAT, Heartbeats, Pulse};
use crate::http;
use crate::identify::IdentifierSource;
use crate::log::Log;
use crate::metrics::Instruments;
use crate::paths;
use crate::publish::{Connection, Info, Outbox, Publisher, Publishing, Saying, StatsSource};
use crate::runtime::ProviderInUse;
use crate::sightings::{Memory, Retention, Sightings};
use crate::state_dir;
use crate::stop::Stop;

/// How long the last messages may take, once everything was seen.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// As [`LAST_WORDS`], when we were told to stop.
const LAST_WORDS_ON_SIGNAL: Duration = Duration::from_secs(3);
/// News that may wait for the main thread.
const ROOM: usize = 64;

/// What the daemon starts from.
pub struct Start {
    /// The configuration.
    pub settings: Settings,
    /// The state folder.
    pub state: PathBuf,
    /// The configuration's file, which is watched for changes.
    pub file: PathBuf,
    /// Reads the configuration again.
    pub load: Box<dyn Fn() -> Result<Settings, ConfigError>>,
    /// The running log.
    pub log: Log,
}

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
    CameraOver(CameraId),
    /// The CPU runs the networks from now on.
    CardLost(Box<ProviderInUse>),
    EngineDied,
    /// End.
    Signal,
    /// Read the configuration again.
    HangUp,
    Asked(Asked),
}

/// Runs until a signal, or until every camera came to its end.
///
/// # Errors
/// When something without which nothing works can't be opened.
pub fn run(start: &Start) -> anyhow::Result<Ended> {
    let (settings, state) = (&start.settings, start.state.as_path());
    leave_when_a_thread_panics();
    state_dir::prepare(state)?;
    #[cfg(feature = "fault")]
    crate::fault::listen(state);
    let _alone = lock(state)?;
    let node: Arc<str> = node::id(settings.node.as_deref(), state)?.into();
    let outbox = Outbox::open(state)?;
    let instruments = Arc::new(Instruments {
        started: Timestamp::now(),
        heartbeats: Heartbeats::default(),
        silence: settings.watchdog_silence,
        cameras: Roster::default(),
        engine: Arc::new(Meter::default()),
        outbox: outbox.depth(),
        connection: Connection::default(),
        people: AtomicUsize::new(0),
        open: RwLock::default(),
    });
    let (news_sender, news) = sync_channel(ROOM);

    // The slowest first.
    let mut runtime_settings = settings.runtime.clone();
    let source = IdentifierSource::open(&settings.identify_by, &mut runtime_settings)?;
    let of_engine = news_sender.clone();
    let (engine, engine_thread) = engine::start(
        runtime_settings,
        Arc::clone(&instruments.engine),
        instruments.heartbeats.clone(),
        move |news| {
            let news = match news {
                EngineNews::Opened(facts) => News::Opened(facts),
                EngineNews::CardLost(provider) => News::CardLost(provider),
                EngineNews::Died => News::EngineDied,
            };
            tell(&of_engine, news);
        },
    )?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("io")
        .enable_all()
        .build()
        .context("can't start the I/O thread")?;
    let (to_gallery, gallery_inbox) = gallery::inbox();
    let to_main = news_sender.clone();
    let to_tell = Arc::clone(&instruments);
    let handler = Handler::new(to_gallery, move |asked| {
        // Not by the main thread: whoever asks whether we hang must not wait for it.
        if asked.verb == Verb::Health {
            let _ = asked.reply.send(Ok(to_tell.health(Instant::now())));
            return true;
        }
        to_main.try_send(News::Asked(asked)).is_ok()
    });
    runtime.spawn(signals::listen(news_sender.clone()));
    let mut cameras = Cameras::open(&settings.cameras, &instruments)?;
    let (memory, memory_thread) = remember(state, settings.retention, &instruments.heartbeats);
    let publishing = Publisher::start(
        &runtime,
        Publishing {
            mqtt: &settings.mqtt,
            home_assistant: settings.home_assistant.clone(),
            node: Arc::clone(&node),
            outbox,
            cameras: settings.cameras.iter().map(|camera| camera.id.clone()).collect(),
            faces: settings.publish_faces,
            presence_hold: settings.presence_hold,
            requests: settings.requests.then(|| requests::start(&runtime, handler.clone())),
            connection: instruments.connection.clone(),
            stats: Box::new(|depth| {
                StatsSource::new(instruments.cameras.clone(), Arc::clone(&instruments.engine), depth)
            }),
            heartbeats: &instruments.heartbeats,
        },
    )?;
    let line = Arc::clone(&instruments);
    let watchdog = Watchdog::start(Watch {
        heartbeats: instruments.heartbeats.clone(),
        silence: settings.watchdog_silence,
        farewell: publishing.farewell.clone(),
        status: Box::new(move || line.line()),
    })?;
    if let Some(address) = settings.http {
        http::start(runtime.handle(), address, Arc::clone(&instruments));
    }
    tracing::info!(%node, broker = %format!("{}:{}", settings.mqtt.host, settings.mqtt.port), "started");

    let facts = match wait_for_networks(&news) {
        Ok(Ok(facts)) => facts,
        other => {
            supervisor::stopping("stopping");
            cameras.stop();
            publishing.end(&runtime, Instant::now());
            watchdog.end();
            return other.map(|opened| opened.err().unwrap_or(Ended::ByWish));
        }
    };
    for person in source.prepare(&mut Gallery::open(state)?)? {
        tracing::info!(person = person.id, "a class of the head got a person without photos");
    }
    let gallery = Gallery::open(state)?;
    let identifier = Arc::new(RwLock::new(gallery::identifier(&source, &gallery)?));
    let people = gallery.people()?;
    if people.is_empty() {
        tracing::warn!("nobody is enrolled, so everybody is unknown; add people with `kith enroll NAME PHOTO…`");
    }
    let networks = networks_in_use(settings, &facts.embedder, &source)?;
    // In this order: once `info` is there, the node is `online`.
    let enrolled = people.len();
    instruments.set_people(enrolled);
    if let Some(memory) = &memory {
        memory.people(people.iter().map(|summary| summary.person.uid).collect());
    }
    publishing.say(gallery::enrolled(people));
    publishing.say(Saying::Info(Box::new(info(
        settings,
        &facts.provider,
        &networks,
        &instruments,
    ))));
    let stop = Stop::default();
    let gallery_thread = GalleryDesk {
        gallery,
        source,
        identifier: Arc::clone(&identifier),
        sayings: publishing.sayings.clone(),
        memory: memory.clone(),
        instruments: Arc::clone(&instruments),
        behind: false,
        // Without memory there is nobody to enrol, and it was said why.
        sightings: memory.as_ref().and_then(|_| Sightings::open(state).ok()),
    }
    .start(gallery_inbox, &stop)?;
    // Not before somebody answers: until then commands use the database themselves.
    let runtime_dir = paths::runtime_dir();
    let socket = Socket::listen(runtime.handle(), state, runtime_dir.as_deref(), handler);
    if let Err(error) = &socket {
        tracing::warn!(%error, "can't listen for requests; commands use the database itself");
    }
    let over = news_sender.clone();
    let wiring = Wiring {
        node: Arc::clone(&node),
        facts,
        model: Arc::clone(&networks.model),
        identifier,
        engine,
        outbox: publishing.outbox.clone(),
        sayings: publishing.sayings.clone(),
        memory: memory.clone(),
        over: Box::new(move |camera| {
            let over = over.clone();
            Box::new(move || tell(&over, News::CameraOver(camera)))
        }),
    };
    cameras.watch(settings, &wiring)?;
    instruments.set_open(&wiring.facts.provider, &wiring.model);
    // Not only once the broker is there: until then events wait in the outbox, and a broker that is away must not make
    // the supervisor give up on us.
    watchdog.ready();

    let mut running = Running {
        start,
        settings: settings.clone(),
        cameras,
        wiring,
        networks,
        publishing,
        instruments,
        node,
        over: HashSet::new(),
    };
    let ended = running.wait(&news);
    supervisor::stopping("stopping");
    match ended {
        Ended::ByWish => tracing::info!("stopping; once more stops at once"),
        Ended::AllSeen => tracing::info!("every camera came to its end"),
        Ended::NetworksFailed => tracing::error!("stopping, since nothing can be recognised any more"),
    }
    stop.set();
    let Running {
        mut cameras,
        wiring,
        publishing,
        ..
    } = running;
    drop(wiring);
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

/// A daemon at work, as the main thread has it.
struct Running<'s> {
    start: &'s Start,
    /// What it works with now.
    settings: Settings,
    cameras: Cameras,
    wiring: Wiring,
    networks: NetworksInUse,
    publishing: Publisher,
    instruments: Arc<Instruments>,
    node: Arc<str>,
    /// The cameras that came to their end.
    over: HashSet<CameraId>,
}

impl Running<'_> {
    fn wait(&mut self, news: &Receiver<News>) -> Ended {
        let pulse = &self.instruments.heartbeats.pulse("main");
        let mut file = FileWatch::new(&self.start.file);
        loop {
            pulse.beat();
            match news.recv_timeout(BEAT) {
                Ok(News::CameraOver(camera)) => {
                    self.over.insert(camera);
                    if self.over.len() == self.settings.cameras.len() {
                        return Ended::AllSeen;
                    }
                }
                Ok(News::CardLost(provider)) => self.card_lost(*provider),
                Ok(News::EngineDied) => return Ended::NetworksFailed,
                Ok(News::Signal) | Err(RecvTimeoutError::Disconnected) => return Ended::ByWish,
                Ok(News::Asked(Asked { verb, reply })) => {
                    let answer = match verb {
                        Verb::Status => Ok(self.status()),
                        Verb::Reload => {
                            file.known();
                            self.reload(pulse)
                        }
                        _ => Err("that is a matter of the gallery".to_owned()),
                    };
                    let _ = reply.send(answer);
                }
                Ok(News::HangUp) => {
                    file.known();
                    let _ = self.reload(pulse);
                }
                Ok(News::Opened(_)) => {}
                Err(RecvTimeoutError::Timeout) => {
                    if file.changed() {
                        let _ = self.reload(pulse);
                    }
                }
            }
        }
    }

    /// Tells everybody what runs the networks now. The engine told the log.
    fn card_lost(&mut self, provider: ProviderInUse) {
        self.instruments.set_open(&provider, &self.wiring.model);
        self.publishing.say(Saying::Info(Box::new(info(
            &self.settings,
            &provider,
            &self.networks,
            &self.instruments,
        ))));
        self.wiring.facts.provider = provider;
    }

    /// Takes over what can be taken over of the configuration as it is now. A bad one changes nothing.
    fn reload(&mut self, pulse: &Pulse) -> Answer {
        supervisor::reloading();
        // Ending a camera waits for its threads.
        pulse.patience(Duration::from_secs(60));
        let answer = self.read_again();
        pulse.hurry();
        supervisor::ready();
        match &answer {
            Ok(answer) => tracing::info!(%answer, "reloaded"),
            Err(error) => tracing::error!(error, "the configuration was not reloaded; the one of before stays"),
        }
        answer
    }

    /// The answer to `status`.
    fn status(&self) -> Value {
        let instruments = &self.instruments;
        let cameras: serde_json::Map<String, Value> = instruments
            .cameras
            .all()
            .into_iter()
            .map(|(id, slot)| {
                let (frames, dropped) = slot.counts();
                let one = json!({"online": slot.is_online(), "frames": frames, "dropped": dropped});
                (id.to_string(), one)
            })
            .collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "node": &*self.node,
            "started": time_text(instruments.started),
            "missing": instruments.missing(),
            "provider": self.wiring.facts.provider.to_string(),
            "card": self.wiring.facts.provider.card.as_ref().map(ToString::to_string),
            "lost": self.wiring.facts.provider.why_lost(),
            "networks": self.wiring.facts.provider.networks,
            "cameras": cameras,
            "people": instruments.people.load(Ordering::Relaxed),
            "broker": instruments.connection.is_up(),
            "outbox": instruments.outbox.rows(),
            "workers": instruments.heartbeats.workers(),
        })
    }

    fn read_again(&mut self) -> Answer {
        let new = (self.start.load)().map_err(|error| error.to_string())?;
        let needs_restart = reload::needs_restart(&self.settings, &new);
        for part in &needs_restart {
            tracing::warn!(part, "this change of the configuration needs a restart");
        }
        let rules_differ = reload::rules_differ(&self.settings, &new);
        let new = reload::taken_over(&self.settings, new);
        if new.log.level != self.settings.log.level && !self.start.log.set_level(new.log.level) {
            tracing::warn!("RUST_LOG says how much is logged, not log.level");
        }
        self.settings = new;
        // Before there is a new camera, so that its first word is heard.
        self.publishing.say(Saying::Reloaded {
            cameras: self.settings.cameras.iter().map(|camera| camera.id.clone()).collect(),
            presence_hold: self.settings.presence_hold,
            faces: self.settings.publish_faces,
        });
        let changes = self
            .cameras
            .apply(&self.settings, rules_differ, &self.wiring)
            .map_err(|error| format!("can't start a thread: {error}"))?;
        for camera in changes.removed.iter().chain(&changes.restarted) {
            self.over.remove(camera);
        }
        Ok(reload::answer(&changes, &needs_restart))
    }
}

/// What `info` says.
fn info(settings: &Settings, provider: &ProviderInUse, networks: &NetworksInUse, instruments: &Instruments) -> Info {
    Info {
        provider: provider.to_string(),
        card: provider.card.as_ref().map(ToString::to_string),
        models: networks.run_by(provider),
        cameras: settings.cameras.iter().map(|camera| camera.id.clone()).collect(),
        people: instruments.people.load(Ordering::Relaxed),
        started: instruments.started,
    }
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

/// Waits for the networks; says how it ended when that came first.
fn wait_for_networks(news: &Receiver<News>) -> anyhow::Result<Result<EngineFacts, Ended>> {
    loop {
        match news.recv()? {
            News::Opened(facts) => return facts.map(Ok),
            News::Signal => return Ok(Err(Ended::ByWish)),
            News::Asked(Asked { reply, .. }) => {
                let _ = reply.send(Err("it is still opening the networks; try again in a moment".to_owned()));
            }
            News::HangUp => tracing::warn!("it is still opening the networks, and reads nothing again before that"),
            News::CameraOver(_) | News::CardLost(_) | News::EngineDied => {}
        }
    }
}
