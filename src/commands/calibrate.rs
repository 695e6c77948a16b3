//! `kith calibrate`: fits threshold and calibration on a folder of people, and measures what comes of it.
//!
//! Developers run it through `cargo xtask calibrate`; its figures are in `docs/reference/accuracy.md`.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use ulid::Ulid;

use super::Common;
use super::photos::{decode_ahead, photos_in};
use super::terminal;
use crate::detect::most_prominent;
use crate::embed::Embedding;
use crate::gallery::{Name, Person, Vectors};
use crate::identify::GalleryMatcher;
use crate::model::{Calibration, Thresholds};
use crate::networks::Networks;
use crate::verification::calibration_error::{self, CalibrationError, Said};
use crate::verification::fit::{self, to_places};
use crate::verification::pairs::{self, Pair};
use crate::verification::pairs_file::{self, PhotoName};
use crate::verification::rates::AllPairs;
use crate::verification::{Estimate, LabelledPhoto, similarity};

/// The false accept rate that the threshold is set for, for each comparison with an enrolled face.
const FALSE_ACCEPT_RATE: f64 = 1e-4;
/// Resamples of a bootstrap; enough for two digits of an interval.
const RESAMPLES: usize = 200;
/// Of everything drawn at random.
const SEED: u64 = 20_261_124;
/// Simulated visits behind a calibration error.
const VISITS: usize = 4000;
/// Smallest face that is looked for in a photo, in pixels.
const MIN_FACE_PX: u32 = 20;

/// The arguments of `kith calibrate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: kith calibrate --lfw lfw-dev --folds tests/lfw-dev-folds.txt --catalogue onnx/models.toml"
)]
pub struct Args {
    /// Folder with images/NAME/NAME_0001.jpg and pairsDevTest.txt, as Labeled Faces in the Wild has them
    #[arg(long, value_name = "DIR")]
    pub lfw: PathBuf,
    /// File with a line of names for each fold; `#` begins a comment line
    #[arg(long, value_name = "FILE")]
    pub folds: PathBuf,
    /// The catalogue to write threshold, calibration and accuracy into; without it they are only printed
    #[arg(long, value_name = "FILE")]
    pub catalogue: Option<PathBuf>,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Threads for the networks [default: one for each core]
    #[arg(long, value_name = "N", value_parser = super::parse_threads)]
    pub threads: Option<usize>,
}

#[derive(Serialize)]
struct Report {
    embedding_space: String,
    people: usize,
    photos: usize,
    photos_without_face: usize,
    pairs: usize,
    pairs_accuracy: Estimate,
    true_accept_rates: Vec<RateLine>,
    thresholds: Thresholds,
    calibration: Calibration,
    /// Fitted on half of the people, measured on the other half.
    calibration_errors: Vec<CalibrationError>,
}

#[derive(Serialize)]
struct RateLine {
    false_accept_rate: f64,
    threshold_cosine: f32,
    true_accept_rate: Estimate,
}

/// Runs `kith calibrate`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let mut networks = Networks::open(&common.runtime_settings(args.threads))?;
    let set = Lfw::read(&args.lfw, &args.folds)?;
    let photos = embed(&mut networks, &set)?;
    let report = measure(&set, &photos, networks.embedder.space())?;
    if let Some(catalogue) = &args.catalogue {
        write(catalogue, &networks.embedder.model().name, &report)?;
    }
    if args.json {
        terminal::say(serde_json::to_string(&report)?)?;
    } else {
        report.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The photos, people and pairs of the folder.
struct Lfw {
    people: Vec<String>,
    /// In order of their paths, with the index of the person.
    photos: Vec<(PathBuf, usize)>,
    /// Indices of two photos, and of the fold.
    pairs: Vec<([usize; 2], usize)>,
    folds: usize,
}

impl Lfw {
    fn read(folder: &Path, folds_file: &Path) -> anyhow::Result<Self> {
        let images = folder.join("images");
        let paths = photos_in(&images);
        let mut people: Vec<String> = Vec::new();
        let mut photos = Vec::new();
        for path in paths {
            let name = path
                .parent()
                .and_then(Path::file_name)
                .map(|name| name.to_string_lossy().into_owned());
            let name = name.with_context(|| format!("{} is in no person's folder", path.display()))?;
            if people.last() != Some(&name) {
                people.push(name);
            }
            photos.push((path, people.len() - 1));
        }
        ensure!(!photos.is_empty(), "no photos in {}", images.display());
        let index: HashMap<&Path, usize> = photos
            .iter()
            .enumerate()
            .map(|(index, (path, _))| (path.as_path(), index))
            .collect();
        let photo = |named: &PhotoName| {
            let path = images.join(named.file());
            index
                .get(path.as_path())
                .copied()
                .with_context(|| format!("there is no {}", path.display()))
        };
        let shown = folds_file.display();
        let text = fs::read_to_string(folds_file).with_context(|| shown.to_string())?;
        let fold_of = pairs_file::parse_folds(&text).with_context(|| shown.to_string())?;
        let pairs_path = folder.join("pairsDevTest.txt");
        let text = fs::read_to_string(&pairs_path).with_context(|| pairs_path.display().to_string())?;
        let named = pairs_file::parse(&text).with_context(|| pairs_path.display().to_string())?;
        let mut pairs = Vec::new();
        for [first, second] in &named {
            let fold = |name: &str| {
                fold_of
                    .get(name)
                    .copied()
                    .with_context(|| format!("{name} is in no fold of {}", folds_file.display()))
            };
            let of_first = fold(&first.person)?;
            ensure!(
                of_first == fold(&second.person)?,
                "{} and {} are a pair, but in two folds",
                first.person,
                second.person
            );
            pairs.push(([photo(first)?, photo(second)?], of_first));
        }
        let folds = fold_of.values().max().map_or(0, |last| last + 1);
        Ok(Self {
            people,
            photos,
            pairs,
            folds,
        })
    }
}

fn embed(networks: &mut Networks, set: &Lfw) -> anyhow::Result<Vec<LabelledPhoto>> {
    let progress = ProgressBar::new(set.photos.len() as u64)
        .with_style(ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta} left")?)
        .with_message("Embedding");
    let paths: Vec<PathBuf> = set.photos.iter().map(|(path, _)| path.clone()).collect();
    let mut people = set.photos.iter().map(|(_, person)| *person);
    let mut photos = Vec::with_capacity(paths.len());
    decode_ahead(&paths, |path, decoded| {
        let picture = decoded.with_context(|| path.display().to_string())?;
        let faces = networks.detector.detect(&picture, MIN_FACE_PX)?;
        let (width, height) = picture.dimensions();
        let face: Vec<_> = most_prominent(&faces, width, height).into_iter().collect();
        let embedded = networks.embed_faces(&picture, &face)?.pop().flatten();
        let person = people.next().context("a photo without a person")?;
        let embedding = embedded.map(|embedded| embedded.embedding);
        photos.push(LabelledPhoto { person, embedding });
        progress.inc(1);
        Ok(())
    })?;
    progress.finish_and_clear();
    Ok(photos)
}

fn measure(set: &Lfw, photos: &[LabelledPhoto], space: &str) -> anyhow::Result<Report> {
    let people = set.people.len();
    let labelled: Vec<Pair> = set
        .pairs
        .iter()
        .map(|&([a, b], fold)| Pair {
            people: [photos[a].person, photos[b].person],
            similarity: similarity(&photos[a], &photos[b]),
            fold,
        })
        .collect();
    let all = AllPairs::of(photos, people);
    let true_accept_rates = [1e-2, 1e-3, 1e-4]
        .map(|false_accept_rate| RateLine {
            false_accept_rate,
            threshold_cosine: all.threshold_at(false_accept_rate),
            true_accept_rate: all.true_accept_rate_at(false_accept_rate, RESAMPLES, SEED),
        })
        .into();
    // The error is measured on people that the fit has not seen: the even ones fit, the odd ones are visitors.
    let half =
        |odd: usize| -> Vec<LabelledPhoto> { photos.iter().filter(|photo| photo.person % 2 == odd).cloned().collect() };
    let fitted = fit_to(&AllPairs::of(&half(0), people));
    let visitors = half(1);
    let calibration_errors = [1, 5, 50]
        .into_iter()
        .map(|enrolled| {
            calibration_error::measure(&visitors, enrolled, VISITS, fit::PRIOR_KNOWN, SEED, |gallery, probe| {
                say(fitted, gallery, probe)
            })
            .with_context(|| format!("too few people to enrol {enrolled}"))
        })
        .collect::<anyhow::Result<_>>()?;
    let (thresholds, calibration) = fit_to(&all);
    Ok(Report {
        embedding_space: space.to_string(),
        people,
        photos: photos.len(),
        photos_without_face: photos.iter().filter(|photo| photo.embedding.is_none()).count(),
        pairs: labelled.len(),
        pairs_accuracy: pairs::accuracy(&labelled, set.folds, people, RESAMPLES, SEED),
        true_accept_rates,
        thresholds,
        calibration,
        calibration_errors,
    })
}

fn fit_to(pairs: &AllPairs) -> (Thresholds, Calibration) {
    #[expect(clippy::cast_possible_truncation, reason = "a few digits")]
    let cosine = to_places(f64::from(pairs.threshold_at(FALSE_ACCEPT_RATE)), 3) as f32;
    (
        Thresholds {
            cosine,
            margin_cosine: MARGIN_COSINE,
        },
        fit::calibration(pairs),
    )
}

/// Least distance to the runner-up. Chosen by judgement: what other margins would cost or save was not measured.
const MARGIN_COSINE: f32 = 0.05;

/// What the daemon's own matcher says, with the enrolled people numbered.
fn say((thresholds, calibration): (Thresholds, Calibration), gallery: &[&Embedding], probe: &Embedding) -> Said {
    let numbered = |(index, face): (usize, &&Embedding)| {
        let id = index.to_string();
        let name = Name::parse(&id).ok()?;
        Some(Vectors {
            person: Person::new(id, Ulid::nil(), name),
            faces: vec![(*face).clone()],
            negatives: Vec::new(),
        })
    };
    let everybody = gallery.iter().enumerate().filter_map(numbered).collect();
    let matcher = GalleryMatcher::new(everybody, thresholds, calibration);
    let answer = matcher.identify(probe).answer;
    Said {
        person: answer.person().and_then(|person| person.id.parse().ok()),
        confidence: answer.confidence(),
    }
}

/// Puts the figures into the catalogue's entry of the embedder, and keeps its comments.
fn write(catalogue: &Path, model: &str, report: &Report) -> anyhow::Result<()> {
    let text = fs::read_to_string(catalogue).with_context(|| catalogue.display().to_string())?;
    let mut document: toml_edit::DocumentMut = text
        .parse()
        .with_context(|| format!("{} is no TOML", catalogue.display()))?;
    let entry = document
        .get_mut("model")
        .and_then(toml_edit::Item::as_array_of_tables_mut)
        .and_then(|models| {
            models
                .iter_mut()
                .find(|entry| entry.get("name").and_then(toml_edit::Item::as_str) == Some(model))
        })
        .with_context(|| format!("{} has no model {model}", catalogue.display()))?;
    let mut thresholds = toml_edit::InlineTable::new();
    let shortest = |value: f32| value.to_string().parse::<f64>().unwrap_or_else(|_| f64::from(value));
    thresholds.insert("cosine", shortest(report.thresholds.cosine).into());
    thresholds.insert("margin_cosine", shortest(report.thresholds.margin_cosine).into());
    entry["thresholds"] = toml_edit::value(thresholds);
    let c = &report.calibration;
    let mut calibration = toml_edit::InlineTable::new();
    for (key, value) in [
        ("lr_intercept", c.lr_intercept),
        ("lr_slope", c.lr_slope),
        ("same_mean", c.same_mean),
        ("same_sd", c.same_sd),
        ("different_mean", c.different_mean),
        ("different_sd", c.different_sd),
        ("prior_known", c.prior_known),
    ] {
        calibration.insert(key, value.into());
    }
    calibration.insert(
        "cosine_range",
        toml_edit::Value::Array(c.cosine_range.into_iter().collect()),
    );
    entry["calibration"] = toml_edit::value(calibration);
    let mut accuracy = toml_edit::InlineTable::new();
    accuracy.insert("pairs", to_places(report.pairs_accuracy.value, 4).into());
    let how = format!(
        "`cargo xtask calibrate`: {} pairs of LFW's development view, ten folds of disjoint people; threshold at a false \
         accept rate of {FALSE_ACCEPT_RATE:e} of all pairs of {} photos",
        report.pairs, report.photos
    );
    accuracy.insert("how", how.into());
    entry["accuracy"] = toml_edit::value(accuracy);
    let folder = catalogue
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).with_context(|| folder.display().to_string())?;
    std::io::Write::write_all(&mut file, document.to_string().as_bytes())?;
    file.persist(catalogue)
        .with_context(|| catalogue.display().to_string())?;
    Ok(())
}

impl Report {
    fn print(&self) -> std::io::Result<()> {
        let percent = |estimate: &Estimate| {
            let [value, low, high] = [estimate.value, estimate.low, estimate.high].map(|share| share * 100.0);
            format!("{value:.2} % ({low:.2} to {high:.2})")
        };
        terminal::say(&self.embedding_space)?;
        terminal::say(format_args!(
            "{} photos of {} people, {} without a face found\n",
            self.photos, self.people, self.photos_without_face
        ))?;
        terminal::say(format_args!(
            "{} pairs, ten folds of disjoint people: {} right",
            self.pairs,
            percent(&self.pairs_accuracy)
        ))?;
        terminal::say(format_args!(
            "\n{:>18} {:>10}  true accept rate (95 % by person)",
            "false accept rate", "cosine"
        ))?;
        for rate in &self.true_accept_rates {
            let at = percent(&rate.true_accept_rate);
            terminal::say(format_args!(
                "{:>18e} {:>10.3}  {at}",
                rate.false_accept_rate, rate.threshold_cosine
            ))?;
        }
        let c = &self.calibration;
        terminal::say(format_args!(
            "\nthreshold {:.3}, margin {:.3}",
            self.thresholds.cosine, self.thresholds.margin_cosine
        ))?;
        terminal::say(format_args!(
            "log likelihood ratio {:.2} + {:.2} s, prior {}",
            c.lr_intercept, c.lr_slope, c.prior_known
        ))?;
        terminal::say(format_args!(
            "\n{:>8} {:>18} {:>8} {:>16} {:>12} {:>15}",
            "enrolled", "calibration error", "right", "strangers named", "known named", "known misnamed"
        ))?;
        for error in &self.calibration_errors {
            let [calibration, right, strangers, known, wrong] = [
                error.expected_error,
                error.right,
                error.strangers_named,
                error.known_named,
                error.known_misnamed,
            ]
            .map(|share| format!("{:.2} %", share * 100.0));
            terminal::say(format_args!(
                "{:>8} {calibration:>18} {right:>8} {strangers:>16} {known:>12} {wrong:>15}",
                error.enrolled
            ))?;
        }
        Ok(())
    }
}
