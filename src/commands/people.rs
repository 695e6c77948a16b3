//! `kith people`: who is in the gallery, and changing it.

use std::fs::File;
use std::io::{BufReader, IsTerminal, Write, stderr, stdin, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use data_encoding::HEXLOWER;
use serde::Serialize;
use tempfile::NamedTempFile;

use super::Common;
use super::terminal::{complain, say};
use crate::gallery::{FaceRecord, Gallery, Imported, Name, Person, PersonSummary};
use crate::paths;

/// The arguments of `kith people`.
#[derive(Debug, clap::Args)]
#[command(after_help = "PERSON is an id or a name. `kith enroll` adds people.")]
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
    /// Remove people with everything that is kept of their faces
    Remove {
        /// Ids or names
        #[arg(required = true, value_name = "PERSON")]
        people: Vec<String>,
        /// Don't ask
        #[arg(long)]
        yes: bool,
    },
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
    source_sha256: String,
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
        Action::List => list(&state_dir, args.json)?,
        Action::Show { person } => show(&Gallery::open(&state_dir)?, person, args.json)?,
        Action::Rename { person, name } => {
            let person = Gallery::open(&state_dir)?.rename(person, name)?;
            print(args.json, &person, || {
                format!("{} is now called {}", person.id, person.name)
            })?;
        }
        Action::Remove { people, yes } => return remove(&mut Gallery::open(&state_dir)?, people, *yes, args.json),
        Action::Export { file, people, force } => export(&mut Gallery::open(&state_dir)?, file, people, *force)?,
        Action::Import { file } => import(&mut Gallery::open(&state_dir)?, file, args.json)?,
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

fn list(state_dir: &Path, is_json: bool) -> anyhow::Result<()> {
    // Looking makes no gallery.
    let people = if Gallery::exists(state_dir) {
        Gallery::open(state_dir)?.people()?
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
    for PersonSummary {
        person,
        faces,
        crops,
        spaces,
    } in people
    {
        let role = person.role.map(|role| format!(", {role}")).unwrap_or_default();
        if faces == 0 {
            say(format_args!(
                "{:id_width$}  {}{role}  (no photos)",
                person.id, person.name
            ))?;
            continue;
        }
        let photos = if faces == 1 { "photo" } else { "photos" };
        let kept = if crops > 0 {
            format!(", {crops} kept")
        } else {
            String::new()
        };
        say(format_args!(
            "{:id_width$}  {}{role}  ({faces} {photos}{kept}; {})",
            person.id,
            person.name,
            spaces.join(", ")
        ))?;
    }
    Ok(())
}

fn show(gallery: &Gallery, wanted: &str, is_json: bool) -> anyhow::Result<()> {
    let person = gallery.find(wanted)?;
    let faces = gallery.faces(&person.id)?;
    if is_json {
        let faces = faces
            .iter()
            .map(
                |FaceRecord {
                     source_sha256,
                     quality,
                     has_crop,
                     spaces,
                     ..
                 }| ShownFace {
                    source_sha256: HEXLOWER.encode(source_sha256),
                    height_px: quality.size_px,
                    sharpness: quality.sharpness,
                    yaw_degrees: quality.yaw_degrees,
                    probability: quality.probability,
                    has_crop: *has_crop,
                    spaces,
                },
            )
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
    for face in faces {
        let quality = face.quality;
        say(format_args!(
            "  photo {}…: face {:.0} px high, sharpness {:.2}, turned {:.0}°, {}{}",
            HEXLOWER.encode(&face.source_sha256[..4]),
            quality.size_px,
            quality.sharpness,
            quality.yaw_degrees.abs(),
            face.spaces.join(", "),
            if face.has_crop { ", crop kept" } else { "" },
        ))?;
    }
    Ok(())
}

fn remove(gallery: &mut Gallery, wanted: &[String], yes: bool, is_json: bool) -> anyhow::Result<ExitCode> {
    let people = wanted
        .iter()
        .map(|wanted| gallery.find(wanted))
        .collect::<Result<Vec<_>, _>>()?;
    if !yes {
        if !stdin().is_terminal() {
            bail!("nobody was removed: without a terminal to ask on, removing needs --yes");
        }
        for person in &people {
            let faces = gallery.faces(&person.id)?.len();
            complain(format_args!(
                "{} ({}), enrolled from {faces} photos",
                person.name, person.id
            ));
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
    let ids: Vec<String> = people.into_iter().map(|person| person.id).collect();
    let mut of_heads = Vec::new();
    for id in &ids {
        for head in gallery.heads_of(id)? {
            of_heads.push((id, head));
        }
    }
    let removed = gallery.remove(&ids)?;
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

fn export(gallery: &mut Gallery, file: &Path, people: &[String], force: bool) -> anyhow::Result<()> {
    if file == Path::new("-") {
        gallery.export(people, &mut stdout().lock())?;
        return Ok(());
    }
    if file.exists() && !force {
        bail!("{} exists already; --force replaces it", file.display());
    }
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let write = || format!("can't write {}", file.display());
    // Written beside its place with mode 0600 and moved there when whole: what bears the name is never half a file.
    let mut unfinished = NamedTempFile::with_prefix_in(".kith-export-", folder).with_context(write)?;
    let mut buffered = std::io::BufWriter::new(&mut unfinished);
    let count = gallery.export(people, &mut buffered)?;
    buffered.flush().with_context(write)?;
    drop(buffered);
    unfinished.as_file().sync_all().with_context(write)?;
    if force {
        unfinished
            .persist(file)
            .map_err(|error| error.error)
            .with_context(write)?;
    } else {
        unfinished
            .persist_noclobber(file)
            .map_err(|error| error.error)
            .with_context(write)?;
    }
    complain(format_args!(
        "{} written to {}; whoever has this file has their faces",
        count_people(count),
        file.display()
    ));
    Ok(())
}

fn import(gallery: &mut Gallery, file: &Path, is_json: bool) -> anyhow::Result<()> {
    let imported = if file == Path::new("-") {
        gallery.import(&mut stdin().lock())?
    } else {
        let export = File::open(file).with_context(|| format!("can't read {}", file.display()))?;
        gallery.import(&mut BufReader::new(export))?
    };
    print(is_json, &imported, || {
        imported.iter().map(imported_line).collect::<Vec<_>>().join("\n")
    })
}

fn imported_line(one: &Imported) -> String {
    let Imported {
        person,
        is_new,
        exported_id,
        exported_name,
        faces_added,
    } = one;
    let photos = if *faces_added == 1 {
        "1 photo".to_string()
    } else {
        format!("{faces_added} photos")
    };
    let told = if *is_new {
        format!("imported with {photos}")
    } else {
        format!("was here, {photos} added")
    };
    let id = if *exported_id == person.id {
        String::new()
    } else {
        format!("; the id {exported_id} was taken")
    };
    let name = if *exported_name == person.name {
        String::new()
    } else {
        format!("; called {exported_name} in the export")
    };
    format!("{} ({}): {told}{id}{name}", person.name, person.id)
}

fn count_people(count: usize) -> String {
    if count == 1 {
        "1 person".into()
    } else {
        format!("{count} people")
    }
}
