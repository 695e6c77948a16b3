//! `kith bench`: how fast this machine is, stage by stage.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use image::imageops::FilterType;
use image::{Rgb, RgbImage};
use serde::Serialize;
use ulid::Ulid;

use super::Common;
use super::terminal::say;
use crate::card::Card;
use crate::embed::Embedding;
use crate::gallery::{Name, Person, Vectors};
use crate::identify::GalleryMatcher;
use crate::networks::Networks;
use crate::photo;
use crate::runtime::{NetworkProof, ProviderInUse};

/// The arguments of `kith bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: kith bench --image group.jpg --size 1280x720 --min-face 40 --threads 2")]
pub struct Args {
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// The picture to measure on; without it, one without faces is made
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Size that the picture is brought to, by scaling and cutting
    #[arg(long, default_value = "1280x720", value_name = "WxH", value_parser = parse_size)]
    pub size: (u32, u32),
    /// Height of the smallest face to look for, in pixels
    #[arg(long, default_value_t = 40, value_name = "PX", value_parser = clap::value_parser!(u32).range(12..=4096))]
    pub min_face: u32,
    /// Threads for the networks [default: one for each core]
    #[arg(long, value_name = "N", value_parser = super::parse_threads)]
    pub threads: Option<usize>,
    /// Frames to measure, after a tenth as many to warm up
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub frames: u32,
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let side = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|side| (12..=photo::MAX_SIDE_PX).contains(side))
    };
    text.split_once('x')
        .and_then(|(width, height)| Some((side(width)?, side(height)?)))
        .ok_or_else(|| {
            format!(
                "a size is WIDTHxHEIGHT, such as 1280x720, each 12 to {}",
                photo::MAX_SIDE_PX
            )
        })
}

/// Runs `kith bench`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let picture = picture(args)?;
    let mut networks = Networks::open(&common.runtime_settings(args.threads))?;
    let matcher = matcher(&networks)?;
    let mut samples = Samples::default();
    let warm_up = args.frames.div_ceil(10);
    for frame in 0..warm_up + args.frames {
        let begun = Instant::now();
        let faces = networks.detector.detect(&picture, args.min_face)?;
        let detected = Instant::now();
        let crops: Vec<RgbImage> = faces
            .iter()
            .filter_map(|face| networks.embedder.alignment().align(&picture, face))
            .collect();
        let aligned = Instant::now();
        let embeddings = networks.embedder.embed(&crops)?;
        let embedded = Instant::now();
        for embedding in &embeddings {
            std::hint::black_box(matcher.identify(embedding));
        }
        let identified = Instant::now();
        let sessions = networks.detector.take_session_time() + networks.embedder.take_session_time();
        if frame >= warm_up {
            samples.faces = faces.len();
            samples.detect.push(detected - begun);
            samples.align.push(aligned - detected);
            samples.embed.push(embedded - aligned);
            samples.identify.push(identified - embedded);
            samples.frame.push(identified - begun);
            samples.sessions.push(sessions);
        }
    }
    let report = samples.report(args, networks.provider);
    if args.json {
        say(serde_json::to_string(&report)?)?;
    } else {
        report.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// People enrolled, one face each, for the last stage.
const ENROLLED: usize = 100;

/// A matcher over people whose faces point in made-up directions; comparing costs the same.
fn matcher(networks: &Networks) -> anyhow::Result<GalleryMatcher> {
    let model = networks.embedder.model();
    let (Some(thresholds), Some(calibration)) = (model.thresholds, model.calibration) else {
        bail!(
            "the catalogue has no thresholds and calibration for {}; run `cargo xtask calibrate`",
            model.name
        );
    };
    let everybody = (0..ENROLLED)
        .map(|index| {
            let raw: Vec<f32> = (0..model.embedding.values)
                .map(|value| ((index * 31 + value * 17) % 23) as f32 - 11.0)
                .collect();
            let face = Embedding::from_raw(&raw).context("made-up faces have a direction")?;
            let id = index.to_string();
            let name = Name::parse(&id)?;
            Ok(Vectors {
                person: Person::new(id, Ulid::nil(), name),
                faces: vec![face],
                negatives: Vec::new(),
            })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(GalleryMatcher::new(everybody, thresholds, calibration))
}

fn picture(args: &Args) -> anyhow::Result<RgbImage> {
    let (width, height) = args.size;
    let Some(path) = &args.image else {
        // Some structure, so that P-Net has something to look at; no face.
        return Ok(RgbImage::from_fn(width, height, |x, y| {
            Rgb([
                (x * 255 / width) as u8,
                (y * 255 / height) as u8,
                ((x ^ y) & 0xff) as u8,
            ])
        }));
    };
    let photo = photo::read(path).with_context(|| path.display().to_string())?;
    Ok(image::DynamicImage::ImageRgb8(photo)
        .resize_to_fill(width, height, FilterType::Triangle)
        .into_rgb8())
}

#[derive(Default)]
struct Samples {
    faces: usize,
    detect: Vec<Duration>,
    align: Vec<Duration>,
    embed: Vec<Duration>,
    identify: Vec<Duration>,
    frame: Vec<Duration>,
    sessions: Vec<Duration>,
}

#[derive(Serialize)]
struct Report {
    image: Option<PathBuf>,
    width: u32,
    height: u32,
    min_face_px: u32,
    threads: Option<usize>,
    provider: String,
    /// The graphics card, where one was looked for and found.
    card: Option<Card>,
    /// What really ran each network.
    networks: Vec<NetworkProof>,
    frames: u32,
    faces: usize,
    stages: Stages,
    frame_median_ms: f64,
    frame_p95_ms: f64,
    /// Inside the runtime's sessions, of the same frames: for each network the lane that took longest, since the others
    /// run beside it.
    sessions_median_ms: f64,
    /// `frame_median_ms / sessions_median_ms`.
    overhead: f64,
}

#[derive(Serialize)]
struct Stages {
    detect: Stage,
    align: Stage,
    embed: Stage,
    identify: Stage,
}

#[derive(Serialize)]
struct Stage {
    median_ms: f64,
    p95_ms: f64,
}

impl Samples {
    fn report(mut self, args: &Args, in_use: ProviderInUse) -> Report {
        let frame = stage(&mut self.frame);
        let sessions = stage(&mut self.sessions);
        Report {
            image: args.image.clone(),
            width: args.size.0,
            height: args.size.1,
            min_face_px: args.min_face,
            threads: args.threads,
            provider: in_use.to_string(),
            card: in_use.card,
            networks: in_use.networks,
            frames: args.frames,
            faces: self.faces,
            stages: Stages {
                detect: stage(&mut self.detect),
                align: stage(&mut self.align),
                embed: stage(&mut self.embed),
                identify: stage(&mut self.identify),
            },
            frame_median_ms: frame.median_ms,
            frame_p95_ms: frame.p95_ms,
            sessions_median_ms: sessions.median_ms,
            overhead: (frame.median_ms / sessions.median_ms * 1e3).round() / 1e3,
        }
    }
}

fn stage(samples: &mut [Duration]) -> Stage {
    samples.sort_unstable();
    let at = |share: usize| samples.get((samples.len() * share / 100).min(samples.len().saturating_sub(1)));
    let ms = |sample: Option<&Duration>| sample.map_or(0.0, |sample| (sample.as_secs_f64() * 1e6).round() / 1e3);
    Stage {
        median_ms: ms(at(50)),
        p95_ms: ms(at(95)),
    }
}

impl Report {
    fn print(&self) -> io::Result<()> {
        let noun = if self.faces == 1 { "face" } else { "faces" };
        say(format_args!(
            "{}x{}, smallest face {} px, {} {noun}",
            self.width, self.height, self.min_face_px, self.faces
        ))?;
        say(format_args!("provider {}, {} frames\n", self.provider, self.frames))?;
        if let Some(card) = &self.card {
            say(format_args!("card {card}\n"))?;
        }
        say(format_args!("{:<10} {:>10} {:>10}", "stage", "median ms", "p95 ms"))?;
        let stages = &self.stages;
        for (name, stage) in [
            ("detect", &stages.detect),
            ("align", &stages.align),
            ("embed", &stages.embed),
            ("identify", &stages.identify),
        ] {
            say(format_args!(
                "{name:<10} {:>10.3} {:>10.3}",
                stage.median_ms, stage.p95_ms
            ))?;
        }
        say(format_args!(
            "{:<10} {:>10.3} {:>10.3}",
            "frame", self.frame_median_ms, self.frame_p95_ms
        ))?;
        say(format_args!("{:<10} {:>10.3}", "sessions", self.sessions_median_ms))?;
        say(format_args!(
            "\nA frame takes {:.2} times the time of its bare sessions.",
            self.overhead
        ))
    }
}
