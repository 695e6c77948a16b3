//! `kith-export align`: photos become aligned faces.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use kith::commands::terminal::{complain, say};
use kith::networks::Networks;
use serde::Serialize;

use super::runtime::RuntimeArgs;
use crate::faces::{self, AlignedFolder, Aligner, Labels, Outcome, PhotoSet, Skipped};

/// The arguments of `kith-export align`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kith-export align photos faces\n\n\
    photos/ada/1.jpg becomes faces/five-point-112/ada/1.jpg.png, faces/box-160/ada/1.jpg.png\n\
    and an entry in faces/faces.json. A folder of photos without folders in it gives faces without\n\
    names, which distil takes. Where a photo shows several faces, the most prominent one is taken.")]
pub struct Args {
    /// Folder with a folder of photos for each person
    #[arg(value_name = "DIR")]
    pub photos: PathBuf,
    /// Folder to make
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
    /// Height of the smallest face that is looked for
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(12..=4096))]
    pub min_face_px: u32,
    /// All photos lie in one folder, NAME_0001.jpg is a photo of NAME
    #[arg(long)]
    pub people_from_names: bool,
    /// Replace OUT where it holds aligned faces already
    #[arg(long)]
    pub force: bool,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Where ONNX Runtime and the networks are
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// What was done, for `--json`.
#[derive(Serialize)]
struct Report<'a> {
    out: String,
    faces: usize,
    skipped: &'a [Skipped],
    /// Photos with more than one face.
    several_faces: Vec<&'a str>,
    /// Faces of each person.
    people: BTreeMap<&'a str, usize>,
    /// Folders without a photo.
    empty: &'a [String],
}

/// Runs `kith-export align`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let labels = if args.people_from_names {
        Labels::FileNames
    } else {
        Labels::Folders
    };
    let photos = PhotoSet::find(&args.photos, labels)?;
    let mut networks = Networks::open(&args.runtime.settings())?;
    let bar = ProgressBar::new(photos.photos.len() as u64).with_style(ProgressStyle::with_template(
        "{bar:30} {pos} of {len} photos, {msg}, {eta} left",
    )?);
    let (mut faces, mut skipped) = (0, 0);
    let aligner = Aligner {
        detector: networks.detector.as_mut(),
        min_face_px: args.min_face_px,
        replace: args.force,
    };
    let aligned = faces::align(&photos, &args.out, aligner, |outcome| {
        match outcome {
            Outcome::Aligned(_) => faces += 1,
            Outcome::Skipped(_) => skipped += 1,
        }
        bar.set_message(format!("{faces} faces, {skipped} skipped"));
        bar.inc(1);
    });
    bar.finish_and_clear();
    let aligned = aligned?;
    let report = report(args, &photos, &aligned);
    if args.json {
        return Ok(say(serde_json::to_string(&report)?)?);
    }
    for Skipped { file, why } in report.skipped {
        complain(format_args!("skipped {file}: {why}"));
    }
    for person in report.empty {
        complain(format_args!("{person}: there are no photos in this folder"));
    }
    print(&report)
}

fn report<'a>(args: &Args, photos: &'a PhotoSet, aligned: &'a AlignedFolder) -> Report<'a> {
    let mut people = BTreeMap::new();
    for photo in photos.photos.iter().filter(|photo| !photo.person.is_empty()) {
        people.entry(photo.person.as_str()).or_insert(0);
    }
    for face in &aligned.faces {
        people.entry(face.person.as_str()).and_modify(|faces| *faces += 1);
    }
    Report {
        out: args.out.display().to_string(),
        faces: aligned.faces.len(),
        skipped: &aligned.skipped,
        several_faces: aligned
            .faces
            .iter()
            .filter(|face| face.faces_in_photo > 1)
            .map(|face| face.file.as_str())
            .collect(),
        people,
        empty: &photos.empty,
    }
}

/// More people than this make no table that anybody reads.
const MOST_PEOPLE_SHOWN: usize = 40;

fn print(report: &Report<'_>) -> anyhow::Result<()> {
    if report.people.len() <= MOST_PEOPLE_SHOWN {
        let width = report.people.keys().map(|name| name.chars().count()).max().unwrap_or(0);
        for (person, faces) in &report.people {
            let nothing = if *faces == 0 { "  nothing to learn from" } else { "" };
            say(format_args!("{person:width$}  {faces:>5} faces{nothing}"))?;
        }
    }
    say(format_args!(
        "{} faces of {} in {}; {} photos skipped, {} show several faces, of which the most prominent was taken",
        report.faces,
        match report.people.len() {
            0 => "people without names".to_string(),
            people => format!("{people} people"),
        },
        report.out,
        report.skipped.len(),
        report.several_faces.len()
    ))?;
    Ok(())
}
