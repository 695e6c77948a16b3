//! `kith enroll`: people into the gallery, all or nothing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::Common;
use super::photos::{collect, photos_in};
use super::terminal::{complain, say};
use crate::enrolment::{self, PersonReport, Photos, Report, Rules, Which};
use crate::gallery::{Name, Person, Who};
use crate::networks::Networks;

/// The arguments of `kith enroll`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith enroll Alice alice1.jpg alice2.jpg   adds a person, or photos to the person of that id or name
  kith enroll --from family/                one folder of photos for each person, named like the person
  kith enroll Bob party.jpg --face 2        the second face from the left

Either every photo is good enough and everybody is enrolled, or nobody is and every reason is told.")]
pub struct Args {
    /// Name of a new person, or name or id of one in the gallery
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub name: Option<String>,
    /// Photos, or folders of them
    #[arg(value_name = "IMAGE", conflicts_with = "from")]
    pub images: Vec<PathBuf>,
    /// A folder with a folder of photos for each person
    #[arg(long, value_name = "DIR")]
    pub from: Option<PathBuf>,
    /// Where a photo shows several people, take the most central large face
    #[arg(long, conflicts_with = "face")]
    pub largest: bool,
    /// Take the Nth face from the left
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub face: Option<u32>,
    /// Keep the faces with a margin, so that a new model can use them without new photos
    #[arg(long)]
    pub keep_crop: bool,
    /// Leave photos out that are refused, and enrol the rest
    #[arg(long)]
    pub skip_bad: bool,
    /// Make a new person even if somebody has this name already
    #[arg(long, conflicts_with = "from")]
    pub new: bool,
    /// What the person is, in your words, such as resident or guest
    #[arg(long)]
    pub role: Option<Name>,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
    /// Threads for the networks [default: one for each core]
    #[arg(long, value_name = "N", value_parser = super::parse_threads)]
    pub threads: Option<usize>,
}

#[derive(Serialize)]
struct EnrolledLine<'a> {
    person: &'a Person,
    is_new: bool,
    added: usize,
    photos: Vec<PhotoEntry<'a>>,
}

#[derive(Serialize)]
struct PhotoEntry<'a> {
    image: &'a Path,
    already: bool,
    face_height_px: f32,
    sharpness: f32,
    yaw_degrees: f32,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct RefusedLine<'a> {
    image: &'a Path,
    refused: String,
}

/// Runs `kith enroll`. Exit code 1 when somebody or something was refused.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let people = people(args)?;
    let photos: usize = people.iter().map(|photos| photos.files.len()).sum();
    if args.face.is_some() && photos != 1 {
        bail!("--face says which face of one photo is meant, but there are {photos}; give them one by one");
    }
    let rules = Rules {
        which: Which::of(args.face, args.largest),
        keep_crop: args.keep_crop,
        skip_bad: args.skip_bad,
    };
    // Opened before the networks, which take longer: a gallery that can't be used should say so at once.
    let mut keeper = common.keeper()?;
    let mut networks = Networks::open(&common.runtime_settings(args.threads))?;
    let progress = progress_bar(photos);
    let report = enrolment::enrol(&mut keeper, &mut networks, &people, &rules, &|| progress.inc(1))?;
    progress.finish_and_clear();
    if args.json {
        print_json(&report)?;
    }
    tell(&report, photos, args.json)?;
    let is_good = !report.enrolled.is_empty() && (report.refused.is_empty() || args.skip_bad);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who is to be enrolled from which files.
fn people(args: &Args) -> anyhow::Result<Vec<Photos>> {
    if let Some(folder) = &args.from {
        return folder_of_people(folder, args.role.as_ref());
    }
    let name = args.name.as_deref().unwrap_or_default();
    if args.images.is_empty() {
        // `kith enroll family/`: no name at all.
        if Path::new(name).is_dir() {
            return folder_of_people(Path::new(name), args.role.as_ref());
        }
        bail!("no photo of {name:?} was given: kith enroll NAME IMAGE…");
    }
    let name = Name::parse(name).with_context(|| format!("{name:?} can't be a name"))?;
    let files = collect(&args.images);
    let who = if args.new { Who::New(name) } else { Who::Named(name) };
    Ok(vec![Photos {
        who,
        role: args.role.clone(),
        files: without_repeats(files),
    }])
}

/// One person for each folder in `folder`; every mistake is told at once.
pub(super) fn folder_of_people(folder: &Path, role: Option<&Name>) -> anyhow::Result<Vec<Photos>> {
    let entries = fs::read_dir(folder).with_context(|| format!("can't read the folder {}", folder.display()))?;
    let mut folders: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    folders.retain(|path| {
        path.is_dir()
            && !path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
    });
    folders.sort();
    if folders.is_empty() {
        bail!(
            "there is no folder in {0}; to enrol the photos in it as one person: kith enroll NAME {0}",
            folder.display()
        );
    }
    let (mut people, mut mistakes) = (Vec::new(), Vec::new());
    for person in folders {
        let text = person.file_name().and_then(OsStr::to_str).unwrap_or_default();
        match (Name::parse(text), photos_in(&person)) {
            (Err(error), _) => mistakes.push(format!("{}: its name can't be a person's: {error}", person.display())),
            (Ok(_), files) if files.is_empty() => {
                mistakes.push(format!("{}: there are no photos in it", person.display()));
            }
            (Ok(name), files) => people.push(Photos {
                who: Who::Named(name),
                role: role.cloned(),
                files,
            }),
        }
    }
    if mistakes.is_empty() {
        Ok(people)
    } else {
        bail!("nobody was enrolled\n  {}", mistakes.join("\n  "))
    }
}

/// The same file named twice (`kith enroll Al a.jpg .`) is one photo.
fn without_repeats(files: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    files
        .into_iter()
        .filter(|file| seen.insert(file.canonicalize().unwrap_or_else(|_| file.clone())))
        .collect()
}

/// Hidden where stderr is no terminal.
fn progress_bar(photos: usize) -> ProgressBar {
    let bar = if photos < 5 {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(photos as u64)
    };
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos} of {len} photos, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn tell(report: &Report, photos: usize, is_json: bool) -> io::Result<()> {
    if !report.refused.is_empty() {
        let refused = report.refused.len();
        let (photo, was) = (
            if photos == 1 { "photo" } else { "photos" },
            if refused == 1 { "was" } else { "were" },
        );
        if report.enrolled.is_empty() {
            complain(format_args!(
                "kith: nobody was enrolled, because {refused} of {photos} {photo} {was} refused:"
            ));
        } else {
            complain(format_args!("kith: {refused} of {photos} {photo} {was} left out:"));
        }
        for (file, reason) in &report.refused {
            complain(format_args!("  {}: {reason}", file.display()));
        }
        if report.enrolled.is_empty() && photos > refused {
            complain(format_args!(
                "  (with --skip-bad the other {} would be enrolled)",
                photos - refused
            ));
        }
    }
    for PersonReport { enrolled, photos } in &report.enrolled {
        let Person { id, name, .. } = &enrolled.person;
        if !is_json {
            let already = enrolled.already.len() - enrolled.added;
            let told = match (enrolled.is_new, enrolled.added, already) {
                (true, added, _) => format!("enrolled from {}", count(added)),
                (false, 0, already) => format!("nothing to add, {} there already", count(already)),
                (false, added, 0) => format!("{} added", count(added)),
                (false, added, already) => format!("{} added, {already} there already", count(added)),
            };
            say(format_args!("{name} ({id}): {told}"))?;
        }
        for photo in photos {
            for warning in &photo.warnings {
                complain(format_args!("kith: warning: {}: {warning}", photo.file.display()));
            }
        }
    }
    Ok(())
}

fn count(photos: usize) -> String {
    if photos == 1 {
        "1 photo".into()
    } else {
        format!("{photos} photos")
    }
}

fn print_json(report: &Report) -> anyhow::Result<()> {
    for (file, reason) in &report.refused {
        say(serde_json::to_string(&RefusedLine {
            image: file,
            refused: reason.to_string(),
        })?)?;
    }
    for PersonReport { enrolled, photos } in &report.enrolled {
        let photos = photos
            .iter()
            .map(|photo| PhotoEntry {
                image: &photo.file,
                already: photo.already,
                face_height_px: photo.quality.size_px,
                sharpness: photo.quality.sharpness,
                yaw_degrees: photo.quality.yaw_degrees,
                warnings: photo.warnings.iter().map(ToString::to_string).collect(),
            })
            .collect();
        let line = EnrolledLine {
            person: &enrolled.person,
            is_new: enrolled.is_new,
            added: enrolled.added,
            photos,
        };
        say(serde_json::to_string(&line)?)?;
    }
    Ok(())
}
