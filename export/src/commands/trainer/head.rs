//! `kith-export head`: trains a linear head on a frozen embedder.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ValueEnum as _;
use kith::commands::terminal::{complain, say};
use kith::embed::{Embedded, Embedder};
use serde::{Deserialize, Serialize};

use super::embedder::EmbedderArgs;
use super::evaluate::HeadReads;
use super::runtime::RuntimeArgs;
use crate::faces::Split;
use crate::faces::{AlignedFace, AlignedFolder, Disputed};
use crate::measure::rejection::rejection;
use crate::train::about::Data;
use crate::train::course::LOG;
use crate::train::head::{HeadCourse, Lesson, TrueHead};
use crate::train::samples::is_among;
use crate::train::served::{self, LOOKS_TO_LEARN, Look};
use crate::weights::safetensors;
use crate::whole_file::write_whole;

/// Faces of others that a head learns, at most; more teach it nothing new.
const MOST_OTHERS: usize = 1000;
/// The head's file in its folder.
pub const HEAD: &str = "head.safetensors";

/// Arguments of `head`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kith-export head faces --split split.json --model mobilefacenet --out heads/family\n\n\
    It learns from all photos. The temperature that makes its probabilities true comes from photos\n\
    that heads without their fold had not seen; the probability below which it answers unknown, from\n\
    strangers: each person to a head without that person, and the people of --strangers."
)]
pub struct Args {
    /// Aligned faces, from `align`
    #[arg(value_name = "FACES")]
    pub faces: PathBuf,
    /// Which photos are in which fold, from `split`
    #[arg(long, value_name = "FILE")]
    pub split: PathBuf,
    /// The frozen network.
    #[command(flatten)]
    pub embedder: EmbedderArgs,
    /// Folder for the head
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What the head reads
    #[arg(long, value_enum, value_name = "OUTPUT", default_value = "embedding")]
    pub reads: HeadReads,
    /// Aligned faces of other people, for choosing when to answer unknown
    #[arg(long, value_name = "FACES")]
    pub strangers: Option<PathBuf>,
    /// Aligned faces of yet other people, without names, of whom the head learns to be unsure; not those of --strangers
    #[arg(long, value_name = "FACES")]
    pub others: Option<PathBuf>,
    /// The share of strangers that may be given a name
    #[arg(long, value_name = "SHARE", default_value_t = 0.01)]
    pub false_accept_rate: f64,
    /// Photos to do without, as `audit` lists them
    #[arg(long, value_name = "FILE")]
    pub without: Option<PathBuf>,
    /// Count every photo the same, also where people have many more than others
    #[arg(long)]
    pub no_class_weights: bool,
    /// Steps of training, each over all photos
    #[arg(long, value_name = "N", default_value_t = 300)]
    pub steps: usize,
    /// Write over a head that is there
    #[arg(long)]
    pub force: bool,
    /// One JSON object about the head instead of words
    #[arg(long)]
    pub json: bool,
    /// Where the network runs.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// What a head's file says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadAbout {
    /// Whom it tells apart, in the order of its logits.
    pub classes: Vec<String>,
    /// `embedding` or `features`.
    pub reads: String,
    /// Of the embedder that it was trained on.
    pub embedding_space: String,
    /// What the logits are divided by.
    pub temperature: f64,
    /// Below this probability it answers unknown.
    pub rejection_probability: f64,
    /// The share of strangers for whom that was chosen.
    pub false_accept_rate: f64,
    /// How many faces of strangers that was, and how many of them got a name.
    pub strangers: usize,
    /// See `strangers`.
    pub strangers_named: usize,
    /// Share of photos that heads without their fold named rightly, 0 to 1.
    pub accuracy_held_out: f64,
    /// What it learned from.
    pub data: Data,
}

/// Runs `head`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut folder = AlignedFolder::read(&args.faces)?;
    let split = Split::read(&args.split)?;
    split.check(&folder)?;
    if let Some(file) = &args.without {
        let disputed = Disputed::read(file)?;
        disputed.check(&folder)?;
        disputed.remove_from(&mut folder.faces);
    }
    let file = args.out.join(HEAD);
    ensure!(
        args.force || !file.exists(),
        "{} holds a head already; --force writes over it, or name another folder with --out",
        args.out.display()
    );
    ensure!(
        args.reads != HeadReads::None,
        "a head has to read something: --reads embedding or --reads features"
    );
    let people = folder.people_to_tell_apart()?;
    let mut embedder = args
        .embedder
        .open(&args.runtime)?
        .context("a head is for one network: name it with --model or --checkpoint")?;
    let faces: Vec<&AlignedFace> = folder.faces.iter().collect();
    let mut looks = vec![(true, served::embed(&mut embedder, &folder, &faces, Look::Plain)?)];
    for look in LOOKS_TO_LEARN {
        looks.push((false, served::embed(&mut embedder, &folder, &faces, look)?));
    }
    let mut lessons = Vec::with_capacity(looks.len() * faces.len());
    for (is_photo, embedded) in &looks {
        lessons.extend(lessons_of(args.reads, &split, &people, &faces, embedded, *is_photo)?);
    }
    let strangers = match &args.strangers {
        Some(path) => {
            let strangers = AlignedFolder::read(path)?;
            let faces: Vec<&AlignedFace> = strangers.faces.iter().collect();
            served::embed(&mut embedder, &strangers, &faces, Look::Plain)?
        }
        None => Vec::new(),
    };
    let unlike = strangers.iter().map(|stranger| stranger.embedding.as_slice());
    let others = others(args.reads, args.others.as_deref(), &mut embedder, &unlike)?;
    let others: Vec<&[f32]> = others.iter().map(Vec::as_slice).collect();
    let course = HeadCourse {
        steps: args.steps,
        class_weights: !args.no_class_weights,
        ..HeadCourse::default()
    };
    let mut log = String::new();
    let mut note = |line| log.push_str(&(serde_json::to_string(&line).unwrap_or_default() + "\n"));
    let head = TrueHead::train(&lessons, people.len(), &others, &course, &mut note)?;
    let scores = strangers_scores(args.reads, &lessons, people.len(), &others, &course, &head, &strangers)?;
    let rejected = rejection(&scores, args.false_accept_rate)?;
    let about = HeadAbout {
        classes: people.clone(),
        reads: args
            .reads
            .to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default(),
        embedding_space: embedder.space().to_owned(),
        temperature: head.temperature,
        rejection_probability: f64::from(rejected.probability),
        false_accept_rate: args.false_accept_rate,
        strangers: rejected.strangers,
        strangers_named: rejected.passed,
        accuracy_held_out: head.accuracy_held_out,
        data: Data::of(&folder, faces.len(), people.len())?,
    };
    std::fs::create_dir_all(&args.out).with_context(|| format!("can't make the folder {}", args.out.display()))?;
    write_whole(&args.out.join(LOG), log.as_bytes())?;
    let metadata = [("kith-head".to_owned(), serde_json::to_string(&about)?)].into();
    write_whole(&file, &safetensors::write(&head.head.weights(1.0), &metadata))?;
    if args.json {
        return Ok(say(serde_json::to_string(&about)?)?);
    }
    Ok(say(format!(
        "{}: {} people, {} photos; {:.1} % right on photos not learned from; temperature {:.2}\nunknown below {:.1} %: {} \
         of {} faces of strangers got a name",
        file.display(),
        about.classes.len(),
        about.data.photos,
        100.0 * about.accuracy_held_out,
        about.temperature,
        100.0 * about.rejection_probability,
        about.strangers_named,
        about.strangers,
    ))?)
}

/// What a head reads of faces of nobody among its people, of at most [`MOST_OTHERS`] of them; none where no folder is named.
/// Whoever may be among `strangers`, with whom the head is measured, is left out: a stranger whom it had learned would be
/// none.
///
/// # Errors
/// When the folder can't be read, or the network can't be run.
pub fn others<'a>(
    reads: HeadReads,
    folder: Option<&Path>,
    embedder: &mut Embedder,
    strangers: &(impl Iterator<Item = &'a [f32]> + Clone),
) -> anyhow::Result<Vec<Vec<f32>>> {
    let Some(path) = folder else { return Ok(Vec::new()) };
    let folder = AlignedFolder::read(path)?;
    let step = folder.faces.len().div_ceil(MOST_OTHERS).max(1);
    let faces: Vec<&AlignedFace> = folder.faces.iter().step_by(step).collect();
    served::embed(embedder, &folder, &faces, Look::Plain)?
        .iter()
        .filter(|embedded| !is_among(embedded.embedding.as_slice(), strangers.clone()))
        .map(|embedded| {
            Ok(reads
                .of(embedded.embedding.as_slice(), embedded.features.as_deref())?
                .to_vec())
        })
        .collect()
}

/// Reads a head's file.
///
/// # Errors
/// When it is none; names it.
pub fn read_head(path: &Path) -> anyhow::Result<(crate::weights::Weights, HeadAbout)> {
    let path = if path.is_dir() {
        path.join(HEAD)
    } else {
        path.to_owned()
    };
    let shown = path.display();
    let bytes = std::fs::read(&path).with_context(|| format!("can't read {shown}"))?;
    let contents = safetensors::read(&bytes).with_context(|| format!("can't use {shown}"))?;
    let about = contents
        .metadata
        .get("kith-head")
        .with_context(|| format!("{shown} is no head: `kith-export head` writes them"))?;
    let about = serde_json::from_str(about).with_context(|| format!("{shown} is of another version"))?;
    Ok((contents.weights, about))
}

fn lessons_of<'a>(
    reads: HeadReads,
    split: &Split,
    people: &[String],
    faces: &[&AlignedFace],
    embedded: &'a [Embedded],
    is_photo: bool,
) -> anyhow::Result<Vec<Lesson<'a>>> {
    faces
        .iter()
        .zip(embedded)
        .map(|(face, embedded)| {
            Ok(Lesson {
                input: reads.of(embedded.embedding.as_slice(), embedded.features.as_deref())?,
                class: people
                    .iter()
                    .position(|person| *person == face.person)
                    .unwrap_or_default(),
                fold: split.fold_of(&face.file).unwrap_or_default(),
                is_photo,
            })
        })
        .collect()
}

/// The highest probability that each stranger gets: each person from a head that has not learned that person, and the
/// others from the head itself.
fn strangers_scores(
    reads: HeadReads,
    lessons: &[Lesson<'_>],
    people: usize,
    others: &[&[f32]],
    course: &HeadCourse,
    head: &TrueHead,
    strangers: &[Embedded],
) -> anyhow::Result<Vec<f32>> {
    let highest = |head: &TrueHead, input: &[f32]| head.probabilities(input).into_iter().fold(0.0, f32::max);
    let mut scores = Vec::new();
    for stranger in 0..people {
        if people < 3 {
            complain("with two people nobody can be left out, so only --strangers count for when to answer unknown");
            break;
        }
        let known: Vec<Lesson> = lessons
            .iter()
            .filter(|lesson| lesson.class != stranger)
            .map(|lesson| Lesson {
                class: lesson.class - usize::from(lesson.class > stranger),
                ..*lesson
            })
            .collect();
        let without = TrueHead::train(&known, people - 1, others, course, |_| ())?;
        let strange = lessons
            .iter()
            .filter(|lesson| lesson.class == stranger && lesson.is_photo);
        scores.extend(strange.map(|lesson| highest(&without, lesson.input)));
    }
    for stranger in strangers {
        scores.push(highest(
            head,
            reads.of(stranger.embedding.as_slice(), stranger.features.as_deref())?,
        ));
    }
    ensure!(
        !scores.is_empty(),
        "to choose when to answer unknown, the head has to see strangers: name aligned faces of others with --strangers"
    );
    Ok(scores)
}
