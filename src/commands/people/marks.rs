//! `kith people ignore`, `threshold` and `not`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::bail;
use serde::Serialize;

use super::print;
use crate::admin::Keeper;
use crate::commands::Common;
use crate::commands::photos::collect;
use crate::commands::terminal::{complain, say};
use crate::enrolment::{self, Rules, Which};
use crate::gallery::{Person, Threshold};
use crate::networks::Networks;

/// A threshold as it is typed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Value(Option<f64>);

impl FromStr for Value {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self(None));
        }
        let value = text.parse().ok().filter(|value| *value > 0.0 && *value <= 1.0);
        value
            .map(|value| Self(Some(value)))
            .ok_or_else(|| format!("{text:?} is neither a number above 0 and at most 1 nor `default`"))
    }
}

/// The arguments of `kith people not`.
#[derive(Debug, clap::Args)]
pub struct NotArgs {
    /// Id or name
    pub person: String,
    /// Photos, or folders of them, of whoever is taken for the person
    #[arg(value_name = "IMAGE", required_unless_present = "forget", conflicts_with = "forget")]
    pub images: Vec<PathBuf>,
    /// Forget all such faces of the person
    #[arg(long)]
    pub forget: bool,
    /// Where a photo shows several people, take the most central large face
    #[arg(long, conflicts_with = "face")]
    pub largest: bool,
    /// Take the Nth face from the left
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub face: Option<u32>,
    /// Keep the faces with a margin, so that a new model can use them without new photos
    #[arg(long)]
    pub keep_crop: bool,
    /// Leave photos out that are refused, and take the rest
    #[arg(long)]
    pub skip_bad: bool,
    /// Threads for the networks [default: one for each core]
    #[arg(long, value_name = "N", value_parser = crate::commands::parse_threads)]
    pub threads: Option<usize>,
}

pub(super) fn ignore(gallery: &mut Keeper, wanted: &str, ignored: bool, is_json: bool) -> anyhow::Result<()> {
    let person = gallery.set_ignored(wanted, ignored)?;
    print(is_json, &person, || {
        let told = if ignored {
            "is ignored: recognised, but nobody is told"
        } else {
            "is no longer ignored"
        };
        format!("{} ({}) {told}", person.name, person.id)
    })
}

pub(super) fn threshold(
    gallery: &mut Keeper,
    wanted: &str,
    Value(value): Value,
    head: bool,
    is_json: bool,
) -> anyhow::Result<()> {
    let which = if head {
        Threshold::Probability
    } else {
        Threshold::Cosine
    };
    let person = gallery.set_threshold(wanted, which, value)?;
    print(is_json, &person, || {
        let by = if head { "trained heads" } else { "the gallery" };
        let told = match value {
            Some(value) => format!("has the threshold {value} by {by}"),
            None => format!("has the same threshold as everybody by {by}"),
        };
        format!("{} ({}) {told}", person.name, person.id)
    })
}

/// What `kith people not` did, for `--json`.
#[derive(Serialize)]
struct NotLine<'a> {
    person: &'a Person,
    added: usize,
    already: usize,
    forgotten: usize,
    refused: Vec<RefusedLine>,
}

#[derive(Serialize)]
struct RefusedLine {
    image: PathBuf,
    refused: String,
}

/// Exit code 1 when a photo was refused.
pub(super) fn not(args: &NotArgs, common: &Common, is_json: bool) -> anyhow::Result<ExitCode> {
    let mut gallery = common.keeper()?;
    if args.forget {
        let (person, forgotten) = gallery.forget_negatives(&args.person)?;
        let line = NotLine {
            person: &person,
            added: 0,
            already: 0,
            forgotten,
            refused: Vec::new(),
        };
        print(is_json, &line, || {
            format!("{} ({}): {forgotten} faces of others forgotten", person.name, person.id)
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let files = collect(&args.images);
    if args.face.is_some() && files.len() != 1 {
        bail!(
            "--face says which face of one photo is meant, but there are {}; give them one by one",
            files.len()
        );
    }
    let rules = Rules {
        which: Which::of(args.face, args.largest),
        keep_crop: args.keep_crop,
        skip_bad: args.skip_bad,
    };
    // Before the networks, which take longer to open.
    gallery.find(&args.person)?;
    let mut networks = Networks::open(&common.runtime_settings(args.threads))?;
    let done = enrolment::add_negatives(&mut gallery, &mut networks, &args.person, &files, &rules)?;
    let already = done.photos.iter().filter(|(_, already)| *already).count();
    let added = done.photos.len() - already;
    for (file, refusal) in &done.refused {
        complain(format_args!("kith: {}: {refusal}", file.display()));
    }
    let is_good = !done.photos.is_empty();
    let person = &done.person;
    if is_json {
        let refused = done.refused.iter().map(|(image, refusal)| RefusedLine {
            image: image.clone(),
            refused: refusal.to_string(),
        });
        say(serde_json::to_string(&NotLine {
            person,
            added,
            already,
            forgotten: 0,
            refused: refused.collect(),
        })?)?;
    } else if is_good {
        let there = if already > 0 {
            format!(", {already} there already")
        } else {
            String::new()
        };
        say(format_args!(
            "{} ({}): {added} {} of others added{there}",
            person.name,
            person.id,
            if added == 1 { "face" } else { "faces" }
        ))?;
    } else {
        complain("kith: nothing was added; --skip-bad leaves refused photos out");
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
