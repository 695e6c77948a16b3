//! `kith unknown`: unknown visitors, and giving them names.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;

use super::Common;
use super::sightings::{People, VisitLine, count, local_text, visit_text};
use super::terminal::{complain, say};
use crate::gallery::{Name, Who};
use crate::paths;
use crate::sightings::{Sightings, Stranger};
use crate::state_dir::FILE_MODE;

/// The arguments of `kith unknown`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith unknown                            who was there and is not enrolled, each person in one line
  kith unknown show k3f9q2                the visits; with --out FILE the picture, where pictures are kept
  kith unknown name k3f9q2 \"Aunt May\"     enrols the visitor, and all the visits have the name
  kith unknown forget k3f9q2

An id is that of any of the visitor's visits, or the end of it.")]
pub struct Args {
    /// JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do [default: list]
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with unknown visitors.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List them, who was there last first
    List,
    /// Show a visitor's visits, or write the picture to a file
    Show {
        /// The visitor's id
        id: String,
        /// Where to write the picture, a JPEG; only kept with `retain.crops = true`
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Replace an existing file
        #[arg(long)]
        force: bool,
    },
    /// Enrol a visitor as a new person, or as more of one in the gallery
    Name {
        /// The visitor's id
        id: String,
        /// Name of a new person, or name or id of one in the gallery
        name: Name,
        /// Make a new person even if somebody has this name already
        #[arg(long)]
        new: bool,
        /// What the person is, in your words, such as resident or guest
        #[arg(long)]
        role: Option<Name>,
    },
    /// Forget visitors and their visits, for good
    Forget {
        /// The visitors' ids
        #[arg(value_name = "ID", required_unless_present = "all")]
        ids: Vec<String>,
        /// All of them
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

/// A visitor as `--json` has it.
#[derive(Serialize)]
struct StrangerLine<'a> {
    id: &'a str,
    visits: Vec<VisitLine<'a>>,
}

impl<'a> StrangerLine<'a> {
    fn of(stranger: &'a Stranger, people: &'a People) -> Self {
        Self {
            id: &stranger.id,
            visits: stranger.visits.iter().map(|visit| people.line(visit)).collect(),
        }
    }
}

/// Runs `kith unknown`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let state_dir = paths::state_dir(common.state.as_deref());
    // Looking makes no database.
    if !Sightings::exists(&state_dir) {
        match &args.action {
            None | Some(Action::List) => tell_list(&[], &state_dir, args.json)?,
            Some(_) => bail!(
                "no visit is remembered in {}; `kith run` remembers them",
                state_dir.display()
            ),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut sightings = Sightings::open(&state_dir)?;
    match args.action.as_ref().unwrap_or(&Action::List) {
        Action::List => tell_list(&sightings.strangers()?, &state_dir, args.json)?,
        Action::Show { id, out, force } => {
            let stranger = sightings.stranger(id)?;
            match out {
                Some(out) => write_picture(&sightings, &stranger, out, *force)?,
                None => show(&stranger, &People::of(&state_dir)?, args.json)?,
            }
        }
        Action::Name { id, name, new, role } => {
            let who = if *new {
                Who::New(name.clone())
            } else {
                Who::Named(name.clone())
            };
            let newcomer = common.keeper()?.name_unknown(&mut sightings, id, who, role.clone())?;
            if newcomer.poor_faces > 0 {
                complain(
                    "kith: warning: every shot of this visitor is smaller or more blurred than photos may be that are \
                     enrolled; add a good photo with `kith enroll`",
                );
            }
            if args.json {
                say(serde_json::to_string(&newcomer)?)?;
            } else {
                say(format_args!(
                    "{} ({}): {} from {}",
                    newcomer.person.name,
                    newcomer.person.id,
                    if newcomer.is_new {
                        format!("enrolled with {}", count(newcomer.faces, "face"))
                    } else {
                        format!("{} added", count(newcomer.faces, "face"))
                    },
                    count(newcomer.visits, "visit"),
                ))?;
            }
        }
        Action::Forget { ids, all } => {
            let strangers = if *all {
                sightings.strangers()?
            } else {
                ids.iter().map(|id| sightings.stranger(id)).collect::<Result<_, _>>()?
            };
            let tracks: Vec<_> = strangers
                .iter()
                .flat_map(|one| &one.visits)
                .map(|visit| visit.track)
                .collect();
            let forgotten = sightings.forget_visits(&tracks)?;
            if args.json {
                say(serde_json::json!({ "forgotten": forgotten }))?;
            } else {
                say(format_args!("{} forgotten", count(forgotten, "visit")))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn tell_list(strangers: &[Stranger], state_dir: &Path, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        let people = People::of(state_dir)?;
        let lines: Vec<StrangerLine<'_>> = strangers.iter().map(|one| StrangerLine::of(one, &people)).collect();
        say(serde_json::to_string(&lines)?)?;
        return Ok(());
    }
    if strangers.is_empty() {
        say(format_args!(
            "no unknown visitor is remembered in {}",
            state_dir.display()
        ))?;
    }
    for stranger in strangers {
        let (Some(first), Some(last)) = (stranger.visits.first(), stranger.visits.last()) else {
            continue;
        };
        let since = if stranger.visits.len() > 1 {
            format!(", first {}", local_text(first.from))
        } else {
            String::new()
        };
        let picture = if stranger.visits.iter().any(|visit| visit.has_crop) {
            ", picture kept"
        } else {
            ""
        };
        say(format_args!(
            "{}  {} at {}  ({}{since}{picture})",
            stranger.id,
            local_text(last.from),
            last.camera,
            count(stranger.visits.len(), "visit"),
        ))?;
    }
    Ok(())
}

fn show(stranger: &Stranger, people: &People, is_json: bool) -> anyhow::Result<()> {
    if is_json {
        say(serde_json::to_string(&StrangerLine::of(stranger, people))?)?;
        return Ok(());
    }
    let width = stranger
        .visits
        .iter()
        .map(|visit| visit.camera.len())
        .max()
        .unwrap_or(0);
    for visit in &stranger.visits {
        say(visit_text(visit, people, width))?;
    }
    Ok(())
}

/// Writes the latest picture there is, for the user's eyes only.
fn write_picture(sightings: &Sightings, stranger: &Stranger, out: &Path, force: bool) -> anyhow::Result<()> {
    let mut with_picture = stranger.visits.iter().rev().filter(|visit| visit.has_crop);
    let Some(jpeg) = with_picture
        .next()
        .map(|visit| sightings.crop(visit.track))
        .transpose()?
        .flatten()
    else {
        bail!(
            "no picture of {} is kept; `retain.crops = true` keeps pictures of visitors from then on",
            stranger.id
        );
    };
    let mut options = OpenOptions::new();
    options.write(true).mode(FILE_MODE);
    if force {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    let write = |file: std::io::Result<File>| file.and_then(|mut file| file.write_all(&jpeg));
    write(options.open(out)).with_context(|| format!("can't write {} (--force replaces a file)", out.display()))?;
    complain(format_args!("the picture of {} is in {}", stranger.id, out.display()));
    Ok(())
}
