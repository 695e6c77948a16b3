//! `kith people`: who is in the gallery, and changing it.
//!
//! - `marks`: ignore, threshold, not
//! - `exchange`: export, import

mod exchange;
mod marks;

use std::io::{IsTerminal, Write, stderr, stdin};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;
use data_encoding::HEXLOWER;
use serde::Serialize;

use super::Common;
use super::terminal::{complain, say};
use crate::admin::Keeper;
use crate::event::ulid_text;
use crate::gallery::{FaceRecord, Gallery, Name, Person, PersonSummary, Source};
use crate::paths;
use crate::sightings::Sightings;

/// The arguments of `kith people`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith people                            everybody
  kith people ignore postman             recognised, but nobody is told; --off undoes it
  kith people threshold alice 0.6        stricter than for everybody; default undoes it
  kith people not alice cousin.jpg       whoever is taken for Alice, and is not
  kith people remove alice               with all that is kept of the face

PERSON is an id or a name. `kith enroll` adds people.")]
pub struct Args {
    /// JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do [default: list]
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with the people.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List everybody
    List,
    /// Show a person's faces and how good they are
    Show {
        /// Id or name
        person: String,
    },
    /// Change a person's display name; the id stays, so topics and automations do
    Rename {
        /// Id or name
        person: String,
        /// The new name
        name: Name,
    },
    /// Remove people with everything that is kept of their faces and visits
    Remove {
        /// Ids or names
        #[arg(required = true, value_name = "PERSON")]
        people: Vec<String>,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
    /// Tell nobody of a person: recognised, but without events and entities, and not counted as unknown
    Ignore {
        /// Id or name
        person: String,
        /// Tell of this person again
        #[arg(long)]
        off: bool,
    },
    /// Say from which likeness on a face is a person's; more is stricter
    Threshold {
        /// Id or name
        person: String,
        /// Above 0 and at most 1, or `default`
        value: marks::Value,
        /// The value is a trained head's probability, not the gallery's cosine similarity
        #[arg(long)]
        head: bool,
    },
    /// Add photos of somebody who is taken for a person, and is not
    Not(marks::NotArgs),
    /// Write people, their vectors and kept crops to a file that only you can read
    Export {
        /// The file, or `-` for standard output
        file: PathBuf,
        /// Ids or names [default: everybody]
        #[arg(value_name = "PERSON")]
        people: Vec<String>,
        /// Replace an existing file
        #[arg(long)]
        force: bool,
    },
    /// Add the people of an export; who is here already gets what is new
    Import {
        /// The file, or `-` for standard input
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct ShownPerson<'a> {
    #[serde(flatten)]
    person: &'a Person,
    faces: Vec<ShownFace<'a>>,
}

#[derive(Serialize)]
struct ShownFace<'a> {
    /// Whether it is the face of somebody who is taken for the person.
    is_negative: bool,
    /// Of a face from a photo.
    source_sha256: Option<String>,
    /// Of a face from a visit: its track.
    visit: Option<String>,
    height_px: f32,
    sharpness: f32,
    yaw_degrees: f32,
    probability: f32,
    has_crop: bool,
    spaces: &'a [String],
}

/// Runs `kith people`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let state_dir = paths::state_dir(common.state.as_deref());
    match args.action.as_ref().unwrap_or(&Action::List) {
        Action::List => list(common, &state_dir, args.json)?,
        Action::Show { person } => show(&mut common.keeper()?, person, args.json)?,
        Action::Rename { person, name } => {
            let person = common.keeper()?.rename(person, name)?;
            print(args.json, &person, || {
                format!("{} is now called {}", person.id, person.name)
            })?;
        }
        Action::Remove { people, yes } => return remove(common, &state_dir, people, *yes, args.json),
        Action::Ignore { person, off } => marks::ignore(&mut common.keeper()?, person, !off, args.json)?,
        Action::Threshold { person, value, head } => {
            marks::threshold(&mut common.keeper()?, person, *value, *head, args.json)?;
        }
        Action::Not(not) => return marks::not(not, common, args.json),
        Action::Export { file, people, force } => {
            exchange::export(&mut Gallery::open(&state_dir)?, file, people, *force)?;
        }
        Action::Import { file } => exchange::import(&mut common.keeper()?, file, args.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn print(is_json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
    say(format_args!(
        "{}",
        if is_json { serde_json::to_string(value)? } else { text() }
    ))?;
    Ok(())
}

fn list(common: &Common, state_dir: &Path, is_json: bool) -> anyhow::Result<()> {
    common.ensure_service_is_reachable(state_dir)?;
    // Looking makes no gallery.
    let people = if Gallery::exists(state_dir) || common.may_be_served() {
        common.keeper()?.people()?
    } else {
        Vec::new()
    };
    if is_json {
        say(serde_json::to_string(&people)?)?;
        return Ok(());
    }
    if people.is_empty() {
        say(format_args!(
            "nobody is enrolled in {}; kith enroll NAME IMAGE… adds people",
            state_dir.display()
        ))?;
        return Ok(());
    }
    let id_width = people.iter().map(|summary| summary.person.id.len()).max().unwrap_or(0);
    for summary in &people {
        say(format_args!(
            "{:id_width$}  {}{}  ({})",
            summary.person.id,
            summary.person.name,
            described(&summary.person),
            counted(summary)
        ))?;
    }
    Ok(())
}

/// Role and marks, each after a comma.
fn described(person: &Person) -> String {
    let mut text = String::new();
    if let Some(role) = &person.role {
        text += &format!(", {role}");
    }
    if person.ignored {
        text += ", ignored";
    }
    if let Some(cosine) = person.threshold_cosine {
        text += &format!(", threshold {cosine}");
    }
    if let Some(probability) = person.threshold_probability {
        text += &format!(", threshold {probability} by heads");
    }
    text
}

/// What there is of the face.
fn counted(summary: &PersonSummary) -> String {
    let PersonSummary {
        faces,
        crops,
        negatives,
        spaces,
        ..
    } = summary;
    let mut text = match faces {
        0 => "no photos".to_owned(),
        1 => "1 face".to_owned(),
        faces => format!("{faces} faces"),
    };
    if *crops > 0 {
        text += &format!(", {crops} kept");
    }
    if *negatives > 0 {
        text += &format!(", {negatives} of others");
    }
    if *faces > 0 {
        text += &format!("; {}", spaces.join(", "));
    }
    text
}

fn show(keeper: &mut Keeper, wanted: &str, is_json: bool) -> anyhow::Result<()> {
    let (person, faces) = keeper.person(wanted)?;
    if is_json {
        let faces = faces
            .iter()
            .map(|face| ShownFace {
                is_negative: face.is_negative,
                source_sha256: match face.source {
                    Source::Photo(sha256) => Some(HEXLOWER.encode(&sha256)),
                    Source::Visit(_) => None,
                },
                visit: match face.source {
                    Source::Photo(_) => None,
                    Source::Visit(shot) => Some(ulid_text(shot.track)),
                },
                height_px: face.quality.size_px,
                sharpness: face.quality.sharpness,
                yaw_degrees: face.quality.yaw_degrees,
                probability: face.quality.probability,
                has_crop: face.has_crop,
                spaces: &face.spaces,
            })
            .collect();
        say(serde_json::to_string(&ShownPerson { person: &person, faces })?)?;
        return Ok(());
    }
    say(format_args!(
        "{}\n  id    {}\n  uid   {}",
        person.name, person.id, person.uid
    ))?;
    if let Some(role) = &person.role {
        say(format_args!("  role  {role}"))?;
    }
    if person.ignored {
        say("  ignored: recognised, but nobody is told")?;
    }
    if let Some(cosine) = person.threshold_cosine {
        say(format_args!("  threshold {cosine} by the gallery"))?;
    }
    if let Some(probability) = person.threshold_probability {
        say(format_args!("  threshold {probability} by heads"))?;
    }
    for face in faces {
        say(format_args!("  {}", face_line(&face)))?;
    }
    Ok(())
}

fn face_line(face: &FaceRecord) -> String {
    let quality = face.quality;
    let source = match face.source {
        Source::Photo(sha256) => format!("photo {}…", HEXLOWER.encode(&sha256[..4])),
        Source::Visit(shot) => format!("visit {}", ulid_text(shot.track)),
    };
    format!(
        "{}{source}: face {:.0} px high, sharpness {:.2}, turned {:.0}°, {}{}",
        if face.is_negative { "not on " } else { "" },
        quality.size_px,
        quality.sharpness,
        quality.yaw_degrees.abs(),
        face.spaces.join(", "),
        if face.has_crop { ", crop kept" } else { "" },
    )
}

fn remove(common: &Common, state_dir: &Path, wanted: &[String], yes: bool, is_json: bool) -> anyhow::Result<ExitCode> {
    let mut keeper = common.keeper()?;
    let people = wanted
        .iter()
        .map(|wanted| keeper.person(wanted))
        .collect::<Result<Vec<_>, _>>()?;
    if !yes {
        if !stdin().is_terminal() {
            bail!("nobody was removed: without a terminal to ask on, removing needs --yes");
        }
        for (person, faces) in &people {
            let faces = faces.len();
            complain(format_args!("{} ({}), with {faces} faces", person.name, person.id));
        }
        write!(stderr(), "Remove for good? [y/N] ")?;
        let mut answer = String::new();
        stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            complain(format_args!("nobody was removed"));
            return Ok(ExitCode::FAILURE);
        }
    }
    // By id: what was asked about is what is removed, even if names changed meanwhile.
    let ids: Vec<String> = people.into_iter().map(|(person, _)| person.id).collect();
    let mut of_heads = Vec::new();
    for id in &ids {
        for head in keeper.heads_of(id)? {
            of_heads.push((id, head));
        }
    }
    let removed = keeper.remove(&ids)?;
    // A running daemon does this itself.
    if !keeper.is_daemon() && Sightings::exists(state_dir) {
        let left: Vec<_> = keeper.people()?.iter().map(|one| one.person.uid).collect();
        Sightings::open(state_dir)?.keep_people(&left)?;
    }
    for (id, head) in of_heads {
        complain(format_args!(
            "kith: the head {head} was trained on the face of {id} and answers \"unknown\" for it from now on; \
             only training it anew without those photos makes it forget the face"
        ));
    }
    print(is_json, &removed, || {
        removed
            .iter()
            .map(|person| format!("{} ({}) is removed", person.name, person.id))
            .collect::<Vec<_>>()
            .join("\n")
    })?;
    Ok(ExitCode::SUCCESS)
}
