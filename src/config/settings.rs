//! What the program may rely on, made from what the file says.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::error::Mistake;
use super::mqtt::{self, HomeAssistantSettings, MqttSettings};
use super::raw::{self, Raw};
use super::secret::Secret;
use super::secret_files;
use crate::camera::{Address, Decode, Polygon, SandboxWish, ViewSettings, Zone};
use crate::frame::CameraId;
use crate::identify::{IdentifyBy, Strictness};
use crate::log::{LogFormat, LogLevel};
use crate::runtime::RuntimeSettings;
use crate::sightings::Retention;

/// The smallest face that a camera looks for, unless its settings say otherwise.
const MIN_FACE_PX: u32 = 40;
/// The frames of a camera that are looked at each second, unless its settings say otherwise.
const FRAMES_PER_SECOND: f64 = 10.0;

/// Good shots before the vote, unless the settings say otherwise.
pub const MIN_SHOTS: usize = 3;
/// From the first good shot to the vote, unless the settings say otherwise.
pub const DECIDE_WITHIN: Duration = Duration::from_millis(2_000);

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The node id, if the file names it: `[a-z0-9_-]+`.
    pub node: Option<String>,
    /// The state folder, if the file names it.
    pub state: Option<PathBuf>,
    /// The broker.
    pub mqtt: MqttSettings,
    /// What runs the networks.
    pub runtime: RuntimeSettings,
    /// How faces get names.
    pub identify_by: IdentifyBy,
    /// Good shots before the vote, 1 or more.
    pub min_shots: usize,
    /// The vote is held so long after the first good shot, whatever shots there are.
    pub decide_within: Duration,
    /// How long a person is present after having been seen.
    pub presence_hold: Duration,
    /// The least time between two announcements of a person on a camera.
    pub announce_again: Duration,
    /// A worker that gives no sign of life for so long hangs.
    pub watchdog_silence: Duration,
    /// Whether pictures of faces are published.
    pub publish_faces: bool,
    /// Where figures and health can be read, if anywhere.
    pub http: Option<SocketAddr>,
    /// The log.
    pub log: LogSettings,
    /// How Home Assistant is told of us, if it is.
    pub home_assistant: Option<HomeAssistantSettings>,
    /// Whether requests over MQTT are answered.
    pub requests: bool,
    /// What is remembered of visits.
    pub retention: Retention,
    /// At least one; their ids differ.
    pub cameras: Vec<CameraSettings>,
}

/// What is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// How.
    pub format: LogFormat,
    /// How much.
    pub level: LogLevel,
}

/// One camera.
#[derive(Debug, Clone, PartialEq)]
pub struct CameraSettings {
    /// `[a-z0-9_-]+`.
    pub id: CameraId,
    /// Where its pictures come from.
    pub address: Address,
    /// The smallest face that is looked for, in pixels.
    pub min_face_px: u32,
    /// At most so many frames a second are looked at.
    pub frames_per_second: f64,
    /// Good shots before the vote, where this camera has its own number.
    pub min_shots: Option<usize>,
    /// From when on a match is a match, where this camera differs.
    pub strictness: Strictness,
    /// Whether a file or folder begins again when it ends.
    pub looped: bool,
    /// What decodes it.
    pub decode: Decode,
    /// The limits around its decoder.
    pub sandbox: SandboxWish,
    /// What of its pictures is looked at.
    pub view: ViewSettings,
    /// Where the pictures of [`Address::needs_broker`] come from.
    pub broker: Option<Arc<MqttSettings>>,
}

impl CameraSettings {
    /// A camera of which only the address is said.
    pub fn of(address: Address) -> Self {
        Self {
            id: "clip".into(),
            address,
            min_face_px: MIN_FACE_PX,
            frames_per_second: FRAMES_PER_SECOND,
            min_shots: None,
            strictness: Strictness::default(),
            looped: false,
            decode: Decode::default(),
            sandbox: SandboxWish::default(),
            view: ViewSettings {
                zones: Vec::new(),
                masks: Vec::new(),
                only_zones: false,
                motion: true,
            },
            broker: None,
        }
    }
}

/// Makes settings, adding to `mistakes`. `None` only when there is at least one mistake.
pub(super) fn build(raw: Raw, folder: &Path, mistakes: &mut Vec<Mistake>) -> Option<Settings> {
    let node = raw.node.filter(|node| is_id(node, "node", mistakes));
    let mqtt = mqtt::broker(raw.mqtt, folder, mistakes);
    let home_assistant = mqtt::home_assistant(raw.home_assistant, mistakes);
    let broker = mqtt.clone().map(Arc::new);
    let cameras = cameras(raw.camera, broker.as_ref(), folder, mistakes);
    let http = listen(raw.http.listen.as_deref(), mistakes);
    let runtime = raw.runtime;
    Some(Settings {
        node,
        state: raw.state.map(|path| folder.join(path)),
        mqtt: mqtt?,
        runtime: RuntimeSettings {
            provider: runtime.provider.unwrap_or_default(),
            when_card_is_lost: runtime.when_card_is_lost,
            precision: runtime.precision.unwrap_or_default(),
            cache: runtime.cache.map(|path| folder.join(path)),
            threads: runtime.threads,
            library: runtime.library.map(|path| folder.join(path)),
            models: runtime.models.map(|path| folder.join(path)),
            models_d: runtime.models_d.map(|path| folder.join(path)),
            embedder: raw.identify.embedder,
        },
        // The walk along the keys let nothing else through.
        identify_by: raw.identify.by.and_then(|by| by.parse().ok()).unwrap_or_default(),
        min_shots: raw.verdict.min_shots.unwrap_or(MIN_SHOTS),
        decide_within: raw
            .verdict
            .decide_within_ms
            .map_or(DECIDE_WITHIN, Duration::from_millis),
        presence_hold: Duration::from_secs(raw.presence.hold_s.unwrap_or(60)),
        announce_again: Duration::from_secs(raw.announce_again_s.unwrap_or(30)),
        watchdog_silence: Duration::from_secs(raw.watchdog.silent_s.unwrap_or(60)),
        publish_faces: raw.publish.faces.unwrap_or(false),
        http,
        log: LogSettings {
            format: raw.log.format.unwrap_or_default(),
            level: raw.log.level.unwrap_or_default(),
        },
        home_assistant,
        requests: raw.requests.enabled.unwrap_or(false),
        retention: retention(&raw.retain),
        cameras,
    })
}

fn retention(raw: &raw::Retain) -> Retention {
    let default = Retention::default();
    let hours = |hours: u64| Duration::from_secs(hours * 3600);
    Retention {
        sightings: raw.sightings_days.map_or(default.sightings, |days| hours(days * 24)),
        unknown: raw.unknown_hours.map_or(default.unknown, hours),
        crops: raw.crops.unwrap_or(default.crops),
    }
}

/// Where HTTP is served, `None` for nowhere.
fn listen(text: Option<&str>, mistakes: &mut Vec<Mistake>) -> Option<SocketAddr> {
    match text.unwrap_or("127.0.0.1:9464") {
        "off" => None,
        text => text
            .parse()
            .map_err(|_| {
                let valid = "write an address and a port, such as \"127.0.0.1:9464\" or \"[::1]:9464\", or \"off\"";
                mistakes.push(Mistake::new(
                    "http.listen",
                    format!("{text:?} is no address to listen on; {valid}"),
                ));
            })
            .ok(),
    }
}

fn cameras(
    raw: Vec<raw::Camera>,
    broker: Option<&Arc<MqttSettings>>,
    folder: &Path,
    mistakes: &mut Vec<Mistake>,
) -> Vec<CameraSettings> {
    if raw.is_empty() && !mistakes.iter().any(|mistake| mistake.key.starts_with("camera")) {
        mistakes.push(Mistake::new(
            "camera",
            "there is none; write a [[camera]] with id and url",
        ));
    }
    let mut seen = HashSet::new();
    let mut cameras = Vec::new();
    for (index, camera) in raw.into_iter().enumerate() {
        let path = format!("camera[{index}]");
        let named = |key: &str, mistakes: &[Mistake]| mistakes.iter().any(|m| m.key == format!("{path}.{key}"));
        if camera.id.is_none() && !named("id", mistakes) {
            mistakes.push(Mistake::new(
                format!("{path}.id"),
                "is missing; a camera's name in topics, such as \"door\"",
            ));
        }
        if camera.url.is_none() && !named("url", mistakes) {
            mistakes.push(Mistake::new(
                format!("{path}.url"),
                format!("is missing; it says where the pictures come from: {}", Address::VALID),
            ));
        }
        let id = camera
            .id
            .filter(|id| is_id(id, &format!("{path}.id"), mistakes))
            .filter(|id| {
                let fresh = seen.insert(id.clone());
                if !fresh {
                    mistakes.push(Mistake::new(
                        format!("{path}.id"),
                        format!("\"{id}\" is another camera's id already"),
                    ));
                }
                fresh
            });
        let password = camera
            .password_file
            .and_then(|file| password(&file, folder, &format!("{path}.password_file"), mistakes));
        let address = camera.url.and_then(|url| {
            Address::parse(&url, folder)
                .and_then(|address| address.with_login(camera.username.as_deref(), password.as_ref()))
                .map_err(|error| mistakes.push(Mistake::new(format!("{path}.url"), error.to_string())))
                .ok()
        });
        let view = ViewSettings {
            zones: zones(camera.zone, &path, mistakes),
            masks: masks(camera.mask, &path, mistakes),
            only_zones: camera.only_zones.unwrap_or(false),
            motion: camera.motion.unwrap_or(true),
        };
        if view.only_zones && view.zones.is_empty() {
            mistakes.push(Mistake::new(
                format!("{path}.only_zones"),
                format!("hides everything without a zone; write a [[camera.zone]] for {path}"),
            ));
        }
        let decode = camera.decode.unwrap_or_default();
        if let Some(address) = address.as_ref().filter(|address| !decode.fits(address)) {
            mistakes.push(Mistake::new(
                format!("{path}.decode"),
                format!("\"{decode}\" can't decode {address}; write \"auto\" or \"cpu\""),
            ));
        }
        // Most cameras take half a second for a snapshot.
        let usual_rate = if matches!(address, Some(Address::Snapshot(_))) {
            2.0
        } else {
            FRAMES_PER_SECOND
        };
        if let (Some(id), Some(address)) = (id, address) {
            cameras.push(CameraSettings {
                id: id.into(),
                broker: broker.filter(|_| address.needs_broker()).cloned(),
                address,
                decode,
                sandbox: camera.sandbox.unwrap_or_default(),
                view,
                min_face_px: camera.min_face_px.unwrap_or(MIN_FACE_PX),
                frames_per_second: camera.frames_per_second.unwrap_or(usual_rate),
                min_shots: camera.min_shots,
                strictness: Strictness {
                    threshold_cosine: camera.threshold_cosine,
                    threshold_probability: camera.threshold_probability,
                },
                looped: camera.looped.unwrap_or(false),
            });
        }
    }
    cameras
}

fn zones(raw: Vec<raw::Zone>, camera: &str, mistakes: &mut Vec<Mistake>) -> Vec<Zone> {
    let mut zones: Vec<Zone> = Vec::new();
    for (index, zone) in raw.into_iter().enumerate() {
        let path = format!("{camera}.zone[{index}]");
        let name = needed(
            zone.name,
            &format!("{path}.name"),
            "a zone's name in events, such as \"porch\"",
            mistakes,
        );
        let polygon = corners(zone.polygon, &path, mistakes);
        let name = name.filter(|name| is_id(name, &format!("{path}.name"), mistakes));
        if name
            .as_ref()
            .is_some_and(|name| zones.iter().any(|zone| *zone.name == **name))
        {
            mistakes.push(Mistake::new(
                format!("{path}.name"),
                "is another zone's name already; each zone of a camera has its own",
            ));
        }
        if let (Some(name), Some(polygon)) = (name, polygon) {
            zones.push(Zone {
                name: name.into(),
                polygon,
            });
        }
    }
    zones
}

fn masks(raw: Vec<raw::Mask>, camera: &str, mistakes: &mut Vec<Mistake>) -> Vec<Polygon> {
    let masks = raw.into_iter().enumerate();
    masks
        .filter_map(|(index, mask)| corners(mask.polygon, &format!("{camera}.mask[{index}]"), mistakes))
        .collect()
}

fn corners(polygon: Option<Polygon>, path: &str, mistakes: &mut Vec<Mistake>) -> Option<Polygon> {
    let example = "its corners, such as [[0, 0], [0.5, 0], [0.5, 1], [0, 1]] for the left half";
    needed(polygon, &format!("{path}.polygon"), example, mistakes)
}

/// Names a missing value, unless it was there and wrong, which was named already.
fn needed<T>(value: Option<T>, key: &str, example: &str, mistakes: &mut Vec<Mistake>) -> Option<T> {
    if value.is_none() && !mistakes.iter().any(|mistake| mistake.key == key) {
        mistakes.push(Mistake::new(key, format!("is missing; {example}")));
    }
    value
}

fn is_id(text: &str, key: &str, mistakes: &mut Vec<Mistake>) -> bool {
    let good = !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-'));
    if !good {
        mistakes.push(Mistake::new(
            key,
            format!("{text:?} can't be part of a topic; use only a-z, 0-9, _ and -, at most 64 of them"),
        ));
    }
    good
}

/// Reads a password from where [`secret_files::resolve`] finds it. The line's end is dropped.
pub(super) fn password(file: &Path, folder: &Path, key: &str, mistakes: &mut Vec<Mistake>) -> Option<Secret> {
    let path = secret_files::resolve(file, folder);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => {
            let mend = if error.kind() == std::io::ErrorKind::PermissionDenied {
                "; a file of root's reaches a service as a credential (LoadCredential= in its unit)"
            } else {
                ""
            };
            mistakes.push(Mistake::new(
                key,
                format!("can't read {}: {error}{mend}", path.display()),
            ));
            None
        }
    }
}
