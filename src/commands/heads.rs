//! `kith heads`: trained heads in the folder of the user's own models.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde::Serialize;

use super::Common;
use super::terminal::{complain, say};
use crate::gallery::{Gallery, MappedClass};
use crate::heads::{self, Installed};
use crate::model::{Catalogue, CatalogueError, HeadModel, Kind, Model};
use crate::paths;

/// The arguments of `kith heads`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith heads install trained/        installs the head in trained/, and the embedder that it was trained on
  kith heads                         lists what is installed
  kith identify party.jpg --by head:family

`identify.by = \"head:family\"` in kith.toml makes the daemon use it, after a restart.")]
pub struct Args {
    /// JSON instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do [default: list]
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with the heads.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the heads and whom they know
    List,
    /// Check a head and copy it into the folder of your own models; each class gets a person in the gallery
    Install {
        /// A catalogue file (`*.toml`) that `kith-export` wrote, or the folder that it lies in
        source: PathBuf,
    },
    /// Remove a head from the folder of your own models; the people stay
    Remove {
        /// The head's name
        name: String,
    },
}

#[derive(Serialize)]
struct HeadLine<'a> {
    name: &'a str,
    /// Why it can't be used; `null` when it can.
    problem: Option<String>,
    embedder: Option<&'a str>,
    reads: Option<&'static str>,
    /// Probability below which the answer is "unknown".
    rejection_probability: Option<f64>,
    classes: Vec<ClassEntry<'a>>,
}

#[derive(Serialize)]
struct ClassEntry<'a> {
    class: &'a str,
    /// The person's id; `null` while the head was never opened, or once the person was removed.
    person: Option<String>,
}

/// Runs `kith heads`. Exit code 1 when a head can't be used.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    match args.action.as_ref().unwrap_or(&Action::List) {
        Action::List => list(common, args.json),
        Action::Install { source } => {
            let settings = common.runtime_settings(None);
            let mut gallery = Gallery::open(&paths::state_dir(common.state.as_deref()))?;
            for installed in heads::install(source, &settings, &mut gallery)? {
                tell_installed(&installed, args.json)?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Remove { name } => {
            let (catalogue, problems) = gather(common);
            complain_of(&problems);
            let removed = heads::remove(&catalogue, &paths::models_d(common.models_d.as_deref()), name)?;
            let state_dir = paths::state_dir(common.state.as_deref());
            if Gallery::exists(&state_dir) {
                Gallery::open(&state_dir)?
                    .forget_head(name)
                    .with_context(|| format!("the head {name} is removed, but not whom its classes stood for"))?;
            }
            if args.json {
                say(serde_json::json!({"removed": name, "file": removed}))?;
            } else {
                say(format_args!(
                    "the head {name} is removed; its people stay in the gallery"
                ))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn gather(common: &Common) -> (Catalogue, Vec<CatalogueError>) {
    Catalogue::gather(
        &paths::models_dir(common.models.as_deref()),
        &paths::models_d(common.models_d.as_deref()),
    )
}

fn complain_of(problems: &[CatalogueError]) {
    for problem in problems {
        complain(format_args!("kith: {problem}"));
    }
}

fn list(common: &Common, is_json: bool) -> anyhow::Result<ExitCode> {
    let (catalogue, problems) = gather(common);
    complain_of(&problems);
    let mut code = if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    };
    // Looking makes no gallery.
    let state_dir = paths::state_dir(common.state.as_deref());
    let gallery = Gallery::exists(&state_dir)
        .then(|| Gallery::open(&state_dir))
        .transpose()?;
    let mut lines = Vec::new();
    for model in catalogue.models().filter(|model| model.kind == Kind::Head) {
        let mapped = gallery.as_ref().map(|gallery| gallery.class_people(&model.name));
        let mapped = mapped.transpose()?.unwrap_or_default();
        let person_of = |class: &str| {
            let (_, person) = mapped.iter().find(|(of, _)| of == class)?;
            Some(person.as_ref()?.id.clone())
        };
        let problem = usable(&catalogue, model).err().map(|error| error.to_string());
        if problem.is_some() {
            code = ExitCode::FAILURE;
        }
        let classes = model.classes.iter().map(|class| ClassEntry {
            class,
            person: person_of(class),
        });
        lines.push(HeadLine {
            name: &model.name,
            problem,
            embedder: model.embedder.as_deref(),
            reads: model.reads.map(crate::model::Reads::name),
            rejection_probability: model.rejection.map(|rejection| rejection.probability),
            classes: classes.collect(),
        });
    }
    if is_json {
        say(serde_json::to_string(&lines)?)?;
        return Ok(code);
    }
    if lines.is_empty() {
        say(format_args!(
            "no head is installed in {}; kith heads install FOLDER adds one",
            paths::models_d(common.models_d.as_deref()).display()
        ))?;
    }
    let width = lines.iter().map(|line| line.name.len()).max().unwrap_or(0);
    for line in &lines {
        if let Some(problem) = &line.problem {
            say(format_args!("{:width$}  can't be used: {problem}", line.name))?;
            continue;
        }
        let classes = line.classes.iter().map(|class| match &class.person {
            Some(id) if id == class.class => id.clone(),
            Some(id) => format!("{} ({id})", class.class),
            None => format!("{} (nobody)", class.class),
        });
        say(format_args!(
            "{:width$}  on {}, unknown below {:.0} %: {}",
            line.name,
            line.embedder.unwrap_or_default(),
            line.rejection_probability.unwrap_or_default() * 100.0,
            classes.collect::<Vec<_>>().join(", ")
        ))?;
    }
    Ok(code)
}

fn usable(catalogue: &Catalogue, model: &Model) -> Result<HeadModel, CatalogueError> {
    let head = catalogue.head(&model.name)?;
    catalogue.read_file(&head.file)?;
    Ok(head)
}

fn tell_installed(installed: &Installed, is_json: bool) -> anyhow::Result<()> {
    let Installed {
        head,
        file,
        embedder_file,
        classes,
    } = installed;
    if is_json {
        let classes: Vec<_> = classes
            .iter()
            .map(|one| {
                serde_json::json!({
                    "class": one.class,
                    "person": one.person.as_ref().map(|person| &person.id),
                    "is_new": one.is_new,
                })
            })
            .collect();
        say(serde_json::json!({
            "head": head.name, "file": file, "embedder_file": embedder_file, "classes": classes,
        }))?;
        return Ok(());
    }
    if let Some(embedder) = embedder_file {
        say(format_args!(
            "the embedder {} is in {}",
            head.embedder,
            embedder.display()
        ))?;
    }
    say(format_args!("the head {} is in {}", head.name, file.display()))?;
    for MappedClass { class, person, is_new } in classes {
        let Some(person) = person else {
            bail!("the class {class} has nobody")
        };
        let how = if *is_new { ", who is new and has no photos" } else { "" };
        say(format_args!("  {class} is {} ({}){how}", person.name, person.id))?;
    }
    say(format_args!(
        "use it with `kith identify --by head:{0}`, or identify.by = \"head:{0}\" in kith.toml",
        head.name
    ))?;
    Ok(())
}
