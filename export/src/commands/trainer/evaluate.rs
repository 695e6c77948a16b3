//! `kith-export evaluate`: measures an embedder, and a head on it, on photos that neither has seen.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::ValueEnum;
use indicatif::ProgressBar;
use kith::commands::terminal::{complain, say};
use kith::embed::{Embedded, Embedder};
use kith::verification::pairs_file;

use super::embedder::EmbedderArgs;
use super::fit::run_name;
use super::runtime::RuntimeArgs;
use crate::faces::Split;
use crate::faces::{AlignedFace, AlignedFolder, Disputed};
use crate::measure::log::read_log;
use crate::measure::pictures;
use crate::measure::{About, FoldRun, HeadAnswers, LeftOutRun, Measurement, Sample};
use crate::train::course::LOG;
use crate::train::head::{HeadCourse, Lesson, TrueHead};
use crate::train::served::{self, LOOKS_TO_LEARN, Look};
use crate::whole_file::write_whole;

/// Faces on the map that show themselves; more would lie upon each other.
const MOST_FACES_ON_MAP: usize = 600;

/// What a head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HeadReads {
    /// The embedding, at unit length
    Embedding,
    /// The features before it
    Features,
    /// Measure no head
    None,
}

impl HeadReads {
    /// What the head reads of a face; an embedder without features has nothing there to read.
    pub fn of<'a>(self, embedding: &'a [f32], features: Option<&'a [f32]>) -> anyhow::Result<&'a [f32]> {
        match self {
            Self::Features => features.context("this embedder gives no features; let the head read its embedding"),
            Self::Embedding | Self::None => Ok(embedding),
        }
    }
}

/// Arguments of `evaluate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kith-export evaluate faces --split split.json --model mobilefacenet --out report\n  \
    kith-export evaluate faces --split split.json --runs runs/family \\\n    \
    --open-set --strangers others-faces --out report\n\n\
    Writes report.json, report.txt and pictures into OUT. What is measured is the network as it would\n\
    be served, in ONNX Runtime. Each photo is asked about once, by a network, a gallery and a head that\n\
    have not seen its fold."
)]
pub struct Args {
    /// Aligned faces, from `align`
    #[arg(value_name = "FACES")]
    pub faces: PathBuf,
    /// Which photos are in which fold, from `split`
    #[arg(long, value_name = "FILE")]
    pub split: PathBuf,
    /// What is measured.
    #[command(flatten)]
    pub embedder: EmbedderArgs,
    /// Folder for the report
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Photos to do without, as `audit` lists them
    #[arg(long, value_name = "FILE")]
    pub without: Option<PathBuf>,
    /// What the head reads
    #[arg(long, value_enum, value_name = "OUTPUT", default_value = "embedding")]
    pub head: HeadReads,
    /// Measure with strangers: each person in turn is left out of gallery, network and head, and comes by
    #[arg(long)]
    pub open_set: bool,
    /// Aligned faces of other people, who come by as strangers too
    #[arg(long, value_name = "FACES", requires = "open_set")]
    pub strangers: Option<PathBuf>,
    /// Aligned faces of yet other people, without names, of whom heads learn to be unsure; not those of --strangers
    #[arg(long, value_name = "FACES")]
    pub others: Option<PathBuf>,
    /// Measure with strangers on the first folds only, as many as this [default: all]
    #[arg(long, value_name = "N", requires = "open_set")]
    pub open_set_folds: Option<usize>,
    /// Pairs of photos, in the form of LFW's pairsDevTest.txt, of the faces in --pairs-faces
    #[arg(long, value_name = "FILE", requires = "pairs_faces")]
    pub pairs: Option<PathBuf>,
    /// Aligned faces that the pairs are of; nothing may have been trained on them
    #[arg(long, value_name = "FACES", requires = "pairs")]
    pub pairs_faces: Option<PathBuf>,
    /// File with a line of names for each fold of the pairs
    #[arg(long, value_name = "FILE", requires = "pairs")]
    pub pairs_folds: Option<PathBuf>,
    /// Draw the map with the faces themselves as points
    #[arg(long)]
    pub faces_map: bool,
    /// Seed of the intervals and of the map
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The report as JSON instead of a table
    #[arg(long)]
    pub json: bool,
    /// Where the networks run.
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// Faces with what a network says of them: the photo itself, and what heads learn from beside it.
struct Looked {
    samples: Vec<Sample>,
    to_learn: HashMap<String, Vec<Vec<f32>>>,
    /// Of faces of nobody among the people.
    others: Vec<Vec<f32>>,
}

/// Runs `evaluate`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut folder = AlignedFolder::read(&args.faces)?;
    let split = Split::read(&args.split)?;
    split.check(&folder)?;
    let people = folder.people_to_tell_apart()?;
    if let Some(file) = &args.without {
        let disputed = Disputed::read(file)?;
        disputed.check(&folder)?;
        disputed.remove_from(&mut folder.faces);
    }
    let strangers = args.strangers.as_deref().map(AlignedFolder::read).transpose()?;
    let mut one_for_all = args.embedder.open(&args.runtime)?;
    let name_of = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    let mut measurement = Measurement::new(About {
        model: args.embedder.name(),
        embedding_space: one_for_all.as_ref().map_or_else(
            || "one for each fold".to_owned(),
            |embedder| embedder.space().to_owned(),
        ),
        head_reads: match args.head {
            HeadReads::None => None,
            reads => reads.to_possible_value().map(|value| value.get_name().to_owned()),
        },
        faces: folder.from.clone(),
        strangers: strangers.as_ref().map(|folder| folder.from.clone()),
        without: args.without.as_deref().map(name_of),
        people: people.clone(),
        seed: args.seed,
    });
    let open_folds = if args.open_set {
        args.open_set_folds.unwrap_or(split.folds).min(split.folds)
    } else {
        0
    };
    let looks = split.folds + open_folds * people.len();
    let bar = ProgressBar::new(looks as u64);
    let learns = (args.head, args.others.as_deref());
    let (mut looked_once, mut strangers_once) = (None, None);
    if let Some(embedder) = &mut one_for_all {
        let others = strangers_samples(embedder, strangers.as_ref(), people.len())?;
        looked_once = Some(look(embedder, &folder, &people, learns, &others)?);
        strangers_once = Some(others);
        pairs(args, embedder, &mut measurement)?;
    }
    let mut on_map = Vec::new();
    for fold in 0..split.folds {
        let looked = match &looked_once {
            Some(looked) => looked,
            None => &look(
                &mut args.embedder.open_run(&run_name(fold, None), &args.runtime)?,
                &folder,
                &people,
                learns,
                &[],
            )?,
        };
        let (test, train) = divide(&looked.samples, |sample| split.fold_of(&sample.file) == Some(fold));
        let mut head = |train: &[Sample], asked: &[&Sample]| ask_head(args.head, &split, looked, train, asked);
        let head: Option<&mut crate::measure::Head<'_>> = match args.head {
            HeadReads::None => None,
            _ => Some(&mut head),
        };
        measurement.fold(
            &FoldRun {
                fold,
                train: &train,
                test: &test,
            },
            head,
        )?;
        bar.inc(1);
        // Each fold has its own space; the map shows the first one's.
        if fold == 0 {
            on_map = looked.samples.clone();
        }
        if fold >= open_folds {
            continue;
        }
        for (left_out, person) in people.iter().enumerate() {
            let (looked, others) = match (&looked_once, &strangers_once) {
                (Some(looked), Some(others)) => (looked, others),
                _ => {
                    let run = run_name(fold, Some(person));
                    let embedder = &mut args.embedder.open_run(&run, &args.runtime)?;
                    let others = strangers_samples(embedder, strangers.as_ref(), people.len())?;
                    (&look(embedder, &folder, &people, learns, &others)?, &others.clone())
                }
            };
            let (mut strange, known) = divide(&looked.samples, |sample| sample.person == left_out);
            let (test, train) = divide(&known, |sample| split.fold_of(&sample.file) == Some(fold));
            strange.extend(others.iter().cloned());
            let mut head = |train: &[Sample], asked: &[&Sample]| ask_head(args.head, &split, looked, train, asked);
            let head: Option<&mut crate::measure::Head<'_>> = match args.head {
                HeadReads::None => None,
                _ => Some(&mut head),
            };
            measurement.left_out(
                &LeftOutRun {
                    left_out,
                    fold,
                    train: &train,
                    test: &test,
                    strangers: &strange,
                },
                head,
            )?;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let report = measurement.finish()?;
    std::fs::create_dir_all(&args.out).with_context(|| format!("can't make the folder {}", args.out.display()))?;
    write_whole(&args.out.join("report.json"), report.to_json()?.as_bytes())?;
    write_whole(&args.out.join("report.txt"), report.to_table().as_bytes())?;
    let mut drawn = report.draw(&args.out)?;
    drawn.extend(draw_map(args, &folder, &people, &on_map)?);
    drawn.extend(draw_training(args)?);
    if args.json {
        return Ok(say(report.to_json()?.trim_end())?);
    }
    say(report.to_table().trim_end())?;
    complain(format!(
        "{}: report.json, report.txt, {}",
        args.out.display(),
        drawn.join(", ")
    ));
    Ok(())
}

fn sample(face: &AlignedFace, person: usize, embedded: Embedded) -> Sample {
    Sample {
        person,
        file: face.file.clone(),
        embedding: embedded.embedding.as_slice().to_vec(),
        features: embedded.features,
    }
}

fn look(
    embedder: &mut Embedder,
    folder: &AlignedFolder,
    people: &[String],
    (reads, others): (HeadReads, Option<&Path>),
    strangers: &[Sample],
) -> anyhow::Result<Looked> {
    let faces: Vec<&AlignedFace> = folder.faces.iter().collect();
    let plain = served::embed(embedder, folder, &faces, Look::Plain)?;
    let mut to_learn: HashMap<String, Vec<Vec<f32>>> = HashMap::new();
    for look in LOOKS_TO_LEARN.into_iter().filter(|_| reads != HeadReads::None) {
        for (face, embedded) in faces.iter().zip(served::embed(embedder, folder, &faces, look)?) {
            let input = reads.of(embedded.embedding.as_slice(), embedded.features.as_deref())?;
            to_learn.entry(face.file.clone()).or_default().push(input.to_vec());
        }
    }
    let person_of = |face: &AlignedFace| {
        people
            .iter()
            .position(|person| *person == face.person)
            .unwrap_or(people.len())
    };
    Ok(Looked {
        samples: faces
            .iter()
            .zip(plain)
            .map(|(face, embedded)| sample(face, person_of(face), embedded))
            .collect(),
        to_learn,
        others: if reads == HeadReads::None {
            Vec::new()
        } else {
            super::head::others(
                reads,
                others,
                embedder,
                &strangers.iter().map(|sample| sample.embedding.as_slice()),
            )?
        },
    })
}

/// The second folder's people are numbered on from the first one's.
fn strangers_samples(
    embedder: &mut Embedder,
    strangers: Option<&AlignedFolder>,
    known: usize,
) -> anyhow::Result<Vec<Sample>> {
    let Some(folder) = strangers else { return Ok(Vec::new()) };
    let people = folder.people();
    let faces: Vec<&AlignedFace> = folder.faces.iter().collect();
    let embedded = served::embed(embedder, folder, &faces, Look::Plain)?;
    let of = |face: &AlignedFace| known + people.iter().position(|person| *person == face.person).unwrap_or(0);
    let samples = faces.iter().zip(embedded);
    Ok(samples
        .map(|(face, embedded)| Sample {
            // Names may be the same in both folders.
            file: format!("strangers/{}", face.file),
            ..sample(face, of(face), embedded)
        })
        .collect())
}

fn divide(samples: &[Sample], is_first: impl Fn(&Sample) -> bool) -> (Vec<Sample>, Vec<Sample>) {
    samples.iter().cloned().partition(is_first)
}

/// Trains a head on `train`, in all forms, and asks it.
fn ask_head(
    reads: HeadReads,
    split: &Split,
    looked: &Looked,
    train: &[Sample],
    asked: &[&Sample],
) -> anyhow::Result<HeadAnswers> {
    let mut classes: Vec<usize> = train.iter().map(|sample| sample.person).collect();
    classes.sort_unstable();
    classes.dedup();
    let mut lessons: Vec<Lesson<'_>> = Vec::with_capacity(2 * train.len());
    for sample in train {
        let class = classes.binary_search(&sample.person).unwrap_or_default();
        let fold = split.fold_of(&sample.file).unwrap_or_default();
        let photo = Lesson {
            input: reads.of(&sample.embedding, sample.features.as_deref())?,
            class,
            fold,
            is_photo: true,
        };
        lessons.push(photo);
        let others = looked.to_learn.get(&sample.file).into_iter().flatten();
        lessons.extend(others.map(|input| Lesson {
            input,
            is_photo: false,
            ..photo
        }));
    }
    let others: Vec<&[f32]> = looked.others.iter().map(Vec::as_slice).collect();
    let head = TrueHead::train(&lessons, classes.len(), &others, &HeadCourse::default(), |_| ())?;
    let probabilities = asked
        .iter()
        .map(|sample| Ok(head.probabilities(reads.of(&sample.embedding, sample.features.as_deref())?)))
        .collect::<anyhow::Result<_>>()?;
    Ok(HeadAnswers { classes, probabilities })
}

fn pairs(args: &Args, embedder: &mut Embedder, measurement: &mut Measurement) -> anyhow::Result<()> {
    let (Some(file), Some(faces)) = (&args.pairs, &args.pairs_faces) else {
        return Ok(());
    };
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()));
    let named = pairs_file::parse(&read(file)?).with_context(|| format!("in {}", file.display()))?;
    let folds = match &args.pairs_folds {
        Some(path) => Some(pairs_file::parse_folds(&read(path)?).with_context(|| format!("in {}", path.display()))?),
        None => None,
    };
    let folder = AlignedFolder::read(faces)?;
    let looked = look(embedder, &folder, &folder.people(), (HeadReads::None, None), &[])?;
    measurement.pairs_file(&named, &looked.samples, folds.as_ref())
}

fn draw_map(args: &Args, folder: &AlignedFolder, people: &[String], samples: &[Sample]) -> anyhow::Result<Vec<String>> {
    // With too few photos a map says nothing.
    let Ok(places) = pictures::plane(samples, args.seed) else {
        return Ok(Vec::new());
    };
    let points: Vec<pictures::MapPoint> = samples
        .iter()
        .zip(places)
        .map(|(sample, place)| pictures::MapPoint {
            place,
            person: sample.person,
            is_marked: nearest_is_another(sample, samples),
        })
        .collect();
    let title = format!("Embeddings of {}", folder.from);
    write_whole(
        &args.out.join("map.svg"),
        pictures::embedding_map(&title, &points, people)?.as_bytes(),
    )?;
    let mut drawn = vec!["map.svg".to_owned()];
    if args.faces_map {
        let shown: Vec<&AlignedFace> = folder.faces.iter().take(MOST_FACES_ON_MAP).collect();
        let crops = crate::train::samples::cuts(folder, &shown, kith::align::Alignment::FivePoint112)?;
        let points = points.get(..crops.len()).unwrap_or_default();
        let picture = pictures::faces_map(&title, points, &crops, people)?;
        let mut png = std::io::Cursor::new(Vec::new());
        picture.write_to(&mut png, image::ImageFormat::Png)?;
        write_whole(&args.out.join("map-faces.png"), png.get_ref())?;
        drawn.push("map-faces.png".to_owned());
    }
    Ok(drawn)
}

/// Whether the face most like this one, of all the others, is another person's.
fn nearest_is_another(sample: &Sample, samples: &[Sample]) -> bool {
    let others = samples.iter().filter(|other| other.file != sample.file);
    let nearest = others.max_by(|a, b| sample.cosine(a).total_cmp(&sample.cosine(b)));
    nearest.is_some_and(|nearest| nearest.person != sample.person)
}

fn draw_training(args: &Args) -> anyhow::Result<Vec<String>> {
    let run = match (&args.embedder.runs, &args.embedder.checkpoint) {
        (Some(runs), _) => runs.join(run_name(0, None)),
        (None, Some(path)) if path.is_dir() => path.clone(),
        (None, Some(path)) => path.parent().map(Path::to_owned).unwrap_or_default(),
        (None, None) => return Ok(Vec::new()),
    };
    let log = run.join(LOG);
    if !log.exists() {
        return Ok(Vec::new());
    }
    let picture = pictures::training_curves(&format!("Training of {}", run.display()), &read_log(&log)?)?;
    write_whole(&args.out.join("training.svg"), picture.as_bytes())?;
    Ok(vec!["training.svg".to_owned()])
}
