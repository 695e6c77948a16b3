//! `kith-export split`: which photos are held out together.

use std::path::PathBuf;

use kith::commands::terminal::{complain, say};
use serde::Serialize;

use crate::faces::{AlignedFolder, Split, TooFew, doubles};

/// The arguments of `kith-export split`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kith-export split faces --folds 5 --seed 1 --out split.json\n\n\
    Photos that are one (the same file, or the same picture saved or cut in another way) share a fold."
)]
pub struct Args {
    /// Folder that kith-export align made
    #[arg(value_name = "FACES")]
    pub faces: PathBuf,
    /// How many folds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(2..=1000))]
    pub folds: u16,
    /// Seed of the order; another seed is another split
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
}

#[derive(Serialize)]
struct Report {
    out: String,
    seed: u64,
    photos: usize,
    /// Photos in each fold.
    folds: Vec<usize>,
    /// Pairs of photos that are one.
    doubles: usize,
    too_few: TooFew,
    people: Vec<PersonLine>,
}

#[derive(Serialize)]
struct PersonLine {
    person: String,
    /// Photos in each fold.
    folds: Vec<usize>,
}

/// More people than this make no table that anybody reads.
const MOST_PEOPLE_SHOWN: usize = 40;
/// More names than this make no sentence.
const MOST_NAMES_SHOWN: usize = 8;

/// Runs `kith-export split`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = AlignedFolder::read(&args.faces)?;
    let folds = usize::from(args.folds);
    let split = Split::new(&folder, folds, args.seed)?;
    split.write(&args.out)?;
    let counts = |person: Option<&str>| {
        let mut counts = vec![0; folds];
        let faces = folder
            .faces
            .iter()
            .filter(|face| person.is_none_or(|person| face.person == person));
        for fold in faces.filter_map(|face| split.fold_of(&face.file)) {
            counts.iter_mut().skip(fold).take(1).for_each(|count| *count += 1);
        }
        counts
    };
    let report = Report {
        out: args.out.display().to_string(),
        seed: args.seed,
        photos: folder.faces.len(),
        folds: counts(None),
        doubles: doubles(&folder.faces).len(),
        too_few: split.too_few(&folder),
        people: folder
            .people()
            .into_iter()
            .map(|person| PersonLine {
                folds: counts(Some(&person)),
                person,
            })
            .collect(),
    };
    if args.json {
        return Ok(say(serde_json::to_string(&report)?)?);
    }
    print(&report)
}

fn print(report: &Report) -> anyhow::Result<()> {
    let width = report.people.iter().map(|line| line.person.chars().count()).max();
    let width = width.unwrap_or(0).max("all".len());
    let row = |name: &str, folds: &[usize]| {
        let cells: String = folds.iter().map(|count| format!("{count:>6}")).collect();
        say(format_args!("{name:width$}{cells}"))
    };
    if report.people.len() <= MOST_PEOPLE_SHOWN {
        for line in &report.people {
            row(&line.person, &line.folds)?;
        }
    }
    row("all", &report.folds)?;
    let TooFew {
        one_photo,
        one_group,
        fewer_than_folds,
    } = &report.too_few;
    for (people, why) in [
        (
            one_photo,
            "with one photo; where it is held out, nothing is left to know them by",
        ),
        (
            one_group,
            "whose photos are all one; where they are held out, nothing is left to know them by",
        ),
        (
            fewer_than_folds,
            "with fewer different photos than folds, so some folds don't ask for them",
        ),
    ] {
        if !people.is_empty() {
            complain(format_args!("{} people {why}: {}", people.len(), names(people)));
        }
    }
    say(format_args!(
        "{} photos in {} folds, {} pairs of doubles kept together: {}",
        report.photos,
        report.folds.len(),
        report.doubles,
        report.out
    ))?;
    Ok(())
}

fn names(people: &[String]) -> String {
    let shown: Vec<&str> = people.iter().take(MOST_NAMES_SHOWN).map(String::as_str).collect();
    let more = people.len() - shown.len();
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{rest}", shown.join(", "))
}
