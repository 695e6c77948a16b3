//! Options of commands that look at a clip as a camera would: `kith evaluate`, `kith explain`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::bail;

use super::Common;
use super::run;
use crate::camera::{Address, View};
use crate::config::{CameraSettings, Settings};
use crate::embed::Embedder;
use crate::identify::IdentifyBy;
use crate::paths;
use crate::runtime::RuntimeSettings;
use crate::visits::VisitRules;

/// Whose settings count.
#[derive(Debug, clap::Args)]
pub struct AsCamera {
    /// Take the settings from this configuration instead of the usual ones
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The camera of the configuration whose settings count [default: its only one]
    #[arg(long, value_name = "ID", requires = "config")]
    pub camera: Option<String>,
    /// Height of the smallest face to look for, in pixels [default: the camera's, or 40]
    #[arg(long, value_name = "PX", value_parser = clap::value_parser!(u32).range(12..=4096))]
    pub min_face: Option<u32>,
    /// Frames that are looked at each second [default: the camera's, or 10]
    #[arg(long, value_name = "N", value_parser = frame_rate)]
    pub frame_rate: Option<f64>,
    /// Threads for the networks [default: one for each core]
    #[arg(long, value_name = "N", value_parser = super::parse_threads)]
    pub threads: Option<usize>,
}

fn frame_rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate| (0.1..=60.0).contains(rate))
        .ok_or_else(|| "frames a second are a number from 0.1 to 60".to_owned())
}

/// The settings that count.
pub(super) struct Seat {
    /// The camera; its address is not looked at.
    pub(super) camera: CameraSettings,
    /// What runs the networks.
    pub(super) runtime: RuntimeSettings,
    /// What names faces.
    pub(super) identify_by: IdentifyBy,
    /// The folder of the gallery.
    pub(super) state: PathBuf,
    settings: Option<Settings>,
}

impl AsCamera {
    /// Reads the configuration, if one was given.
    ///
    /// # Errors
    /// When it can't be read, is wrong, or has no such camera.
    pub(super) fn seat(&self, common: &Common) -> anyhow::Result<Seat> {
        let mut seat = match &self.config {
            Some(file) => {
                let (settings, state) = run::settings(file, common)?;
                Seat {
                    camera: self.chosen(&settings)?,
                    runtime: settings.runtime.clone(),
                    identify_by: settings.identify_by.clone(),
                    state,
                    settings: Some(settings),
                }
            }
            None => Seat {
                camera: CameraSettings::of(Address::Clip(PathBuf::new())),
                runtime: common.runtime_settings(None),
                identify_by: IdentifyBy::Gallery,
                state: paths::state_dir(common.state.as_deref()),
                settings: None,
            },
        };
        seat.runtime.threads = self.threads.or(seat.runtime.threads);
        seat.camera.min_face_px = self.min_face.unwrap_or(seat.camera.min_face_px);
        seat.camera.frames_per_second = self.frame_rate.unwrap_or(seat.camera.frames_per_second);
        Ok(seat)
    }

    fn chosen(&self, settings: &Settings) -> anyhow::Result<CameraSettings> {
        let known: Vec<&str> = settings.cameras.iter().map(|camera| &*camera.id).collect();
        match (&self.camera, &settings.cameras[..]) {
            (None, [only]) => Ok(only.clone()),
            (None, _) => bail!(
                "the configuration has several cameras; say --camera with one of {}",
                known.join(", ")
            ),
            (Some(id), cameras) => match cameras.iter().find(|camera| *camera.id == **id) {
                Some(camera) => Ok(camera.clone()),
                None => bail!("the configuration has no camera {id:?}; it has {}", known.join(", ")),
            },
        }
    }
}

impl Seat {
    /// How visits before the camera are watched.
    pub(super) fn rules(&self, embedder: &Embedder) -> VisitRules {
        let (model, alignment) = (embedder.model(), embedder.alignment());
        let view = Arc::new(View::new(&self.camera.view));
        match &self.settings {
            Some(settings) => VisitRules::of(settings, &self.camera, view, model, alignment),
            None => VisitRules::usual(&self.camera, view, model, alignment),
        }
    }
}
