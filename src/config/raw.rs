//! What the file says: every key optional, nothing interpreted. The docs of each key are in [`super::keys`].

use std::path::PathBuf;

use serde::Deserialize;

use crate::camera::{Decode, Polygon, SandboxWish};
use crate::log::{LogFormat, LogLevel};
use crate::runtime::{Precision, Provider, WhenCardIsLost};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) node: Option<String>,
    pub(super) state: Option<PathBuf>,
    pub(super) announce_again_s: Option<u64>,
    pub(super) mqtt: Mqtt,
    pub(super) runtime: Runtime,
    pub(super) identify: Identify,
    pub(super) verdict: Verdict,
    pub(super) presence: Presence,
    pub(super) watchdog: Watchdog,
    pub(super) publish: Publish,
    pub(super) http: Http,
    pub(super) log: Log,
    pub(super) home_assistant: HomeAssistant,
    pub(super) requests: Requests,
    pub(super) retain: Retain,
    pub(super) camera: Vec<Camera>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Mqtt {
    pub(super) url: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) client_cert_file: Option<PathBuf>,
    pub(super) client_key_file: Option<PathBuf>,
    pub(super) server_name: Option<String>,
    pub(super) base_topic: Option<String>,
    pub(super) client_id: Option<String>,
    pub(super) keep_alive_s: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Runtime {
    pub(super) provider: Option<Provider>,
    pub(super) when_card_is_lost: Option<WhenCardIsLost>,
    pub(super) precision: Option<Precision>,
    pub(super) cache: Option<PathBuf>,
    pub(super) threads: Option<usize>,
    pub(super) library: Option<PathBuf>,
    pub(super) models: Option<PathBuf>,
    pub(super) models_d: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Identify {
    pub(super) by: Option<String>,
    pub(super) embedder: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Verdict {
    pub(super) min_shots: Option<usize>,
    pub(super) decide_within_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Presence {
    pub(super) hold_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Watchdog {
    pub(super) silent_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Publish {
    pub(super) faces: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Http {
    pub(super) listen: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub(super) format: Option<LogFormat>,
    pub(super) level: Option<LogLevel>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HomeAssistant {
    pub(super) enabled: Option<bool>,
    pub(super) discovery_prefix: Option<String>,
    pub(super) birth_topic: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Requests {
    pub(super) enabled: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Retain {
    pub(super) sightings_days: Option<u64>,
    pub(super) unknown_hours: Option<u64>,
    pub(super) crops: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Camera {
    pub(super) id: Option<String>,
    pub(super) url: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password_file: Option<PathBuf>,
    pub(super) min_face_px: Option<u32>,
    pub(super) frames_per_second: Option<f64>,
    pub(super) min_shots: Option<usize>,
    pub(super) threshold_cosine: Option<f32>,
    pub(super) threshold_probability: Option<f64>,
    #[serde(rename = "loop")]
    pub(super) looped: Option<bool>,
    pub(super) decode: Option<Decode>,
    pub(super) sandbox: Option<SandboxWish>,
    pub(super) motion: Option<bool>,
    pub(super) only_zones: Option<bool>,
    pub(super) zone: Vec<Zone>,
    pub(super) mask: Vec<Mask>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Zone {
    pub(super) name: Option<String>,
    pub(super) polygon: Option<Polygon>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Mask {
    pub(super) polygon: Option<Polygon>,
}
