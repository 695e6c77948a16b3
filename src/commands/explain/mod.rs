//! `kith explain`: step by step, why the faces in a clip or photo came out as they did.

mod film;
mod lines;
mod table;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};

use super::Common;
use super::as_camera::AsCamera;
use super::identify::open_identifier;
use super::photos::photos_in;
use super::terminal::say;
use crate::identify::{IdentifierSource, IdentifyBy};
use crate::networks::Networks;
use crate::playback::{Player, Reel};

/// The arguments of `kith explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith explain porch.mp4                                     every visit: its shots, what was said, and why
  kith explain photo.jpg --out why.jpg                       the same for a photo, and drawn into a copy
  kith explain porch.mp4 --out why.mp4                       a video with boxes, names and reasons
  kith explain porch.mp4 --config kith.toml --camera porch   with the settings of a camera

Each thing is played as the daemon plays it. Similarities are for you: messages never carry them.")]
pub struct Args {
    /// Video files, photos, or folders of photos
    #[arg(required = true, value_name = "CLIP|IMAGE")]
    pub inputs: Vec<PathBuf>,
    /// Write a copy with boxes, names and reasons; for one clip or photo
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// One JSON object for each clip or photo instead of text
    #[arg(long)]
    pub json: bool,
    /// What names faces: the enrolled photos (gallery), or a trained head (head:NAME) [default: as the configuration
    /// says, or gallery]
    #[arg(long, value_name = "WHAT")]
    pub by: Option<IdentifyBy>,
    /// Whose settings count.
    #[command(flatten)]
    pub as_camera: AsCamera,
}

/// Runs `kith explain`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let reels = reels(&args.inputs)?;
    if let Some(out) = &args.out {
        film::check(out, &reels)?;
    }
    let mut seat = args.as_camera.seat(common)?;
    let by = args.by.as_ref().unwrap_or(&seat.identify_by);
    let source = IdentifierSource::open(by, &mut seat.runtime)?;
    let mut networks = Networks::open(&seat.runtime)?;
    let identifier = open_identifier(&source, &seat.state, &mut networks)?;
    let rules = seat.rules(&networks.embedder);
    let min_shots = rules.min_shots;
    let mut player = Player {
        networks: &mut networks,
        identifier,
        camera: seat.camera.clone(),
        rules,
        in_detail: true,
    };
    for reel in &reels {
        let name = reel.file(0).unwrap_or(Path::new("")).display().to_string();
        let played = player.play(reel).with_context(|| name.clone())?;
        if args.json {
            say(lines::json(&name, &played, min_shots, &seat.camera)?)?;
        } else {
            table::tell(&name, reel, &played, min_shots, &seat.camera)?;
        }
        if let Some(out) = &args.out {
            film::draw(out, reel, &played, &seat.camera).with_context(|| format!("can't write {}", out.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A reel for each clip and each photo.
fn reels(inputs: &[PathBuf]) -> anyhow::Result<Vec<Reel>> {
    let mut reels = Vec::new();
    for input in inputs {
        if input.is_dir() {
            let photos = photos_in(input);
            if photos.is_empty() {
                bail!("there are no photos in {}", input.display());
            }
            reels.extend(photos.into_iter().map(|photo| Reel::Photos(vec![photo])));
        } else if is_photo(input)? {
            reels.push(Reel::Photos(vec![input.clone()]));
        } else {
            reels.push(Reel::Clip(input.clone()));
        }
    }
    Ok(reels)
}

/// Whether it begins as a picture does; all else is FFmpeg's to judge.
fn is_photo(path: &Path) -> anyhow::Result<bool> {
    let mut begin = Vec::new();
    File::open(path)
        .and_then(|file| file.take(64).read_to_end(&mut begin))
        .with_context(|| format!("can't read {}", path.display()))?;
    Ok(image::guess_format(&begin).is_ok_and(|format| format.reading_enabled()))
}
