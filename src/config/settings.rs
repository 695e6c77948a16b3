//! What the program may rely on, made from what the file says.

use std::collections::HashSet;
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Mistake;
use super::mqtt::{self, HomeAssistantSettings, MqttSettings};
use super::raw::{self, Raw};
use super::secret::Secret;
use crate::camera::Address;
use crate::frame::CameraId;
use crate::identify::IdentifyBy;
use crate::runtime::RuntimeSettings;

/// A checked configuration.
#[derive(Debug, Clone)]
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
    /// How long a person is present after having been seen.
    pub presence_hold: Duration,
    /// The least time between two announcements of a person on a camera.
    pub announce_again: Duration,
    /// Whether pictures of faces are published.
    pub publish_faces: bool,
    /// How Home Assistant is told of us, if it is.
    pub home_assistant: Option<HomeAssistantSettings>,
    /// Whether requests over MQTT are answered.
    pub requests: bool,
    /// At least one; their ids differ.
    pub cameras: Vec<CameraSettings>,
}

/// One camera.
#[derive(Debug, Clone)]
pub struct CameraSettings {
    /// `[a-z0-9_-]+`.
    pub id: CameraId,
    /// Where its pictures come from.
    pub address: Address,
    /// The smallest face that is looked for, in pixels.
    pub min_face_px: u32,
    /// At most so many frames a second are looked at.
    pub frames_per_second: f64,
    /// Whether a file or folder begins again when it ends.
    pub looped: bool,
}

/// Makes settings, adding to `mistakes`. `None` only when there is at least one mistake.
pub(super) fn build(raw: Raw, folder: &Path, mistakes: &mut Vec<Mistake>) -> Option<Settings> {
    let node = raw.node.filter(|node| is_id(node, "node", mistakes));
    let mqtt = mqtt::broker(raw.mqtt, folder, mistakes);
    let home_assistant = mqtt::home_assistant(raw.home_assistant, mistakes);
    let cameras = cameras(raw.camera, folder, mistakes);
    let runtime = raw.runtime;
    Some(Settings {
        node,
        state: raw.state.map(|path| folder.join(path)),
        mqtt: mqtt?,
        runtime: RuntimeSettings {
            provider: runtime.provider.unwrap_or_default(),
            threads: runtime.threads,
            library: runtime.library.map(|path| folder.join(path)),
            models: runtime.models.map(|path| folder.join(path)),
            models_d: runtime.models_d.map(|path| folder.join(path)),
            embedder: raw.identify.embedder,
        },
        // The walk along the keys let nothing else through.
        identify_by: raw.identify.by.and_then(|by| by.parse().ok()).unwrap_or_default(),
        min_shots: raw.verdict.min_shots.unwrap_or(3),
        presence_hold: Duration::from_secs(raw.presence.hold_s.unwrap_or(60)),
        announce_again: Duration::from_secs(raw.announce_again_s.unwrap_or(30)),
        publish_faces: raw.publish.faces.unwrap_or(false),
        home_assistant,
        requests: raw.requests.enabled.unwrap_or(false),
        cameras,
    })
}

fn cameras(raw: Vec<raw::Camera>, folder: &Path, mistakes: &mut Vec<Mistake>) -> Vec<CameraSettings> {
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
        if let (Some(id), Some(address)) = (id, address) {
            cameras.push(CameraSettings {
                id: id.into(),
                address,
                min_face_px: camera.min_face_px.unwrap_or(40),
                frames_per_second: camera.frames_per_second.unwrap_or(10.0),
                looped: camera.looped.unwrap_or(false),
            });
        }
    }
    cameras
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

/// Reads a password: a systemd credential of that name if there is one, else the file. The line's end is dropped.
pub(super) fn password(file: &Path, folder: &Path, key: &str, mistakes: &mut Vec<Mistake>) -> Option<Secret> {
    let credential = env::var_os("CREDENTIALS_DIRECTORY")
        .map(|credentials| PathBuf::from(credentials).join(file))
        .filter(|path| path.is_file());
    let path = credential.unwrap_or_else(|| folder.join(file));
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => {
            mistakes.push(Mistake::new(key, format!("can't read {}: {error}", path.display())));
            None
        }
    }
}
