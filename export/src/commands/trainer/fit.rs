//! `kith-export fit`: fine-tunes an embedder on people's photos with the triplet loss.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};
use image::RgbImage;
use kith::commands::terminal::complain;
use rand::seq::SliceRandom;
use tch::Tensor;

use super::training::{TrainingArgs, tell_outcome};
use crate::faces::Split;
use crate::faces::{AlignedFace, AlignedFolder, Disputed};
use crate::nets::Network;
use crate::train::about::{About, Data, name_of};
use crate::train::batches::random_of;
use crate::train::course;
use crate::train::fit::{Fit, Triplets};
use crate::train::mining::Mining;
use crate::train::samples::{self, Pictures, Preprocessing, cuts, is_among, rows_of, unit_rows};

/// Faces of nobody in particular that are kept where they are; enough to hold on to, few enough to fit in memory.
const KEPT: usize = 1000;

/// Arguments of `fit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  kith-export split faces --folds 5 --out split.json\n  \
    kith-export fit faces --split split.json --net mobilefacenet --start MobileFaceNet.tflite --out runs/family\n\n\
    Without --fold all photos are learned from but those of fold 0, by which it stops. With --fold N the photos of fold N\n\
    stay unseen for `evaluate`, and it stops by those of the next fold; --fold all does that for each fold.")]
pub struct Args {
    /// Aligned faces, from `align`
    #[arg(value_name = "FACES")]
    pub faces: PathBuf,
    /// Which photos are in which fold, from `split`
    #[arg(long, value_name = "FILE")]
    pub split: PathBuf,
    /// The network
    #[arg(long, value_enum, value_name = "NAME")]
    pub net: Network,
    /// Keep this fold unseen: a number, or `all` for a run of each into OUT/fold-N
    #[arg(long, value_name = "N|all")]
    pub fold: Option<String>,
    /// Learn without this person, to be used as a stranger; `each` for a run of each into OUT/fold-N-without-PERSON
    #[arg(long, value_name = "PERSON|each", requires = "fold")]
    pub leave_out: Option<String>,
    /// Photos to do without, as `audit` lists them
    #[arg(long, value_name = "FILE")]
    pub without: Option<PathBuf>,
    /// How triplets are chosen
    #[arg(long, value_enum, value_name = "NAME", default_value = "batch-hard")]
    pub mining: Mining,
    /// The least difference of squared distances that is asked for
    #[arg(long, value_name = "X", default_value_t = 0.2)]
    pub margin: f32,
    /// People in a batch
    #[arg(long, value_name = "P", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..))]
    pub people: u16,
    /// Photos of each in a batch
    #[arg(long, value_name = "K", default_value_t = 6, value_parser = clap::value_parser!(u16).range(2..))]
    pub photos: u16,
    /// How often each photo comes up in an epoch, about
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
    pub rounds: u16,
    /// Aligned faces of other people, without names, whose embeddings shall stay about where they are
    #[arg(long, value_name = "FACES")]
    pub keep: Option<PathBuf>,
    /// Aligned faces that the network will be measured with as strangers: what is kept must not show them too
    #[arg(long, value_name = "FACES", requires = "keep")]
    pub keep_unlike: Option<PathBuf>,
    /// Weight of that beside the triplets
    #[arg(long, value_name = "X", default_value_t = 1.0, requires = "keep")]
    pub keep_weight: f64,
    /// Training.
    #[command(flatten)]
    pub training: TrainingArgs,
}

/// One network to train: what it may see, and where it goes.
struct Run {
    out: PathBuf,
    unseen: Option<usize>,
    left_out: Option<String>,
}

/// Faces whose embeddings shall stay about where they are.
struct Kept {
    cuts: Vec<RgbImage>,
    /// Of the network at its beginning; unit length, `[N, values]`.
    embeddings: Tensor,
}

/// Runs `fit`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = AlignedFolder::read(&args.faces)?;
    let split = Split::read(&args.split)?;
    split.check(&folder)?;
    let disputed = args.without.as_deref().map(Disputed::read).transpose()?;
    let people = folder.people();
    ensure!(
        people.len() > 1,
        "{} shows {} people; there is nothing to tell apart with less than two",
        args.faces.display(),
        people.len()
    );
    let preprocessing = args.training.preprocessing(args.net)?;
    let faces: Vec<&AlignedFace> = folder
        .faces
        .iter()
        .filter(|face| disputed.as_ref().is_none_or(|disputed| !disputed.contains(&face.file)))
        .collect();
    let pictures = cuts(&folder, &faces, preprocessing.alignment)?;
    // The same for all runs, since all begin with the same weights.
    let kept = match &args.keep {
        Some(path) => {
            let cuts = kept_faces(path, &preprocessing, args.training.seed)?;
            let (net, _) = args.training.network(args.net)?;
            let embed = |cuts: &[RgbImage]| {
                let cuts: Vec<&RgbImage> = cuts.iter().collect();
                unit_rows(&preprocessing.outputs(&net, "embedding", &cuts, false)?)
            };
            let embeddings = embed(&cuts)?;
            let strangers = match &args.keep_unlike {
                Some(path) => {
                    let folder = AlignedFolder::read(path)?;
                    let faces: Vec<&AlignedFace> = folder.faces.iter().collect();
                    rows_of(&embed(&samples::cuts(&folder, &faces, preprocessing.alignment)?)?)?
                }
                None => Vec::new(),
            };
            let rows = rows_of(&embeddings)?;
            let is_left: Vec<bool> = rows
                .iter()
                .map(|row| !is_among(row, strangers.iter().map(Vec::as_slice)))
                .collect();
            let places: Vec<i64> = (0..)
                .zip(&is_left)
                .filter(|(_, is_left)| **is_left)
                .map(|(place, _)| place)
                .collect();
            let mut is_left = is_left.into_iter();
            Kept {
                embeddings: embeddings
                    .f_index_select(0, &Tensor::f_from_slice(&places)?)?
                    .f_to_device(net.device())?,
                cuts: cuts.into_iter().filter(|_| is_left.next().unwrap_or(true)).collect(),
            }
        }
        None => Kept {
            cuts: Vec::new(),
            embeddings: Tensor::f_zeros([0, 1], (tch::Kind::Float, args.training.device.open()?))?,
        },
    };
    let runs = runs(args, &split, &people)?;
    for (number, run) in runs.iter().enumerate() {
        if runs.len() > 1 {
            complain(format!("run {} of {}: {}", number + 1, runs.len(), run.out.display()));
        }
        let seen: Vec<(&AlignedFace, &RgbImage)> = faces
            .iter()
            .copied()
            .zip(&pictures)
            .filter(|(face, _)| run.left_out.as_ref() != Some(&face.person))
            .collect();
        one(args, run, &folder, &split, &people, &preprocessing, &seen, &kept)?;
    }
    Ok(())
}

fn runs(args: &Args, split: &Split, people: &[String]) -> anyhow::Result<Vec<Run>> {
    let folds: Vec<usize> = match args.fold.as_deref() {
        None => {
            return Ok(vec![Run {
                out: args.training.out.clone(),
                unseen: None,
                left_out: None,
            }]);
        }
        Some("all") => (0..split.folds).collect(),
        Some(number) => match number.parse() {
            Ok(fold) if fold < split.folds => vec![fold],
            _ => bail!(
                "--fold {number}: {} has the folds 0 to {}; or say all",
                args.split.display(),
                split.folds - 1
            ),
        },
    };
    let left_out: Vec<Option<String>> = match args.leave_out.as_deref() {
        None => vec![None],
        Some("each") => people.iter().cloned().map(Some).collect(),
        Some(person) if people.iter().any(|other| other == person) => vec![Some(person.to_owned())],
        Some(person) => bail!(
            "--leave-out {person}: nobody is called so; there are {}",
            people.join(", ")
        ),
    };
    let runs = folds.iter().flat_map(|&fold| {
        left_out.iter().map(move |person| Run {
            out: args.training.out.join(run_name(fold, person.as_deref())),
            unseen: Some(fold),
            left_out: person.clone(),
        })
    });
    Ok(runs.collect())
}

/// The name of a run's folder: the fold that it has not seen, and whom.
pub fn run_name(fold: usize, left_out: Option<&str>) -> String {
    match left_out {
        Some(person) => format!("fold-{fold}-without-{person}"),
        None => format!("fold-{fold}"),
    }
}

#[expect(clippy::too_many_arguments, reason = "what the runs share, and what they don't")]
fn one(
    args: &Args,
    run: &Run,
    folder: &AlignedFolder,
    split: &Split,
    people: &[String],
    preprocessing: &Preprocessing,
    seen: &[(&AlignedFace, &RgbImage)],
    kept: &Kept,
) -> anyhow::Result<()> {
    let (mut net, started_from) = args.training.network(args.net)?;
    let held_out_fold = run.unseen.map_or(0, |fold| (fold + 1) % split.folds);
    let (mut learned, mut held_out) = (Vec::new(), Vec::new());
    for (face, picture) in seen {
        let Some(person) = people.iter().position(|person| *person == face.person) else {
            continue;
        };
        match split.fold_of(&face.file) {
            fold if fold.is_some() && fold == run.unseen => {}
            Some(fold) if fold == held_out_fold => held_out.push((*picture, person)),
            _ => learned.push((*picture, person)),
        }
    }
    ensure!(!learned.is_empty(), "no photo is left to learn from");
    let mut photos = vec![0_usize; people.len()];
    for (_, person) in &learned {
        photos[*person] += 1;
    }
    let lonely: Vec<&str> = people
        .iter()
        .zip(&photos)
        .filter(|(_, n)| **n == 1)
        .map(|(p, _)| p.as_str())
        .collect();
    ensure!(
        photos.iter().any(|&count| count > 1),
        "everybody has one photo to learn from; a triplet takes two photos of somebody"
    );
    if !lonely.is_empty() {
        complain(format!(
            "with one photo, only others are told apart from: {}",
            lonely.join(", ")
        ));
    }
    let augmentation = args.training.augmentation.augmentation();
    let triplets = Triplets {
        mining: args.mining,
        margin: args.margin,
        people_per_batch: args.people.into(),
        photos_each: args.photos.into(),
        rounds: args.rounds.into(),
        keep_weight: if kept.cuts.is_empty() { 0.0 } else { args.keep_weight },
    };
    let there = photos.iter().filter(|&&count| count > 0).count();
    let about = About {
        network: name_of(args.net),
        preprocessing: preprocessing.clone(),
        made_by: "fit".to_owned(),
        data: Data::of(folder, learned.len(), there)?,
        started_from,
        settings: serde_json::json!({
            "triplets": triplets, "augmentation": augmentation, "split_seed": split.seed, "folds": split.folds,
            "unseen_fold": run.unseen, "left_out": run.left_out, "photos_held_out": held_out.len(),
            "freeze": args.training.freeze, "freeze_statistics": args.training.freeze_statistics,
            "bfloat16": args.training.bfloat16,
        }),
    };
    let (changed, people_of_changed) = learned.into_iter().unzip();
    let objective = Fit {
        pictures: Pictures {
            preprocessing,
            augmentation: &augmentation,
            changed,
            unchanged: kept.cuts.iter().collect(),
        },
        people: people_of_changed,
        triplets: &triplets,
        seed: args.training.seed,
        held_out,
        kept_embeddings: kept.embeddings.shallow_clone(),
    };
    let course = args.training.course(1e-4);
    let outcome = course::run(&mut net, &objective, &course, &about, &run.out, args.training.resume)?;
    tell_outcome(&run.out, &outcome, args.training.json)
}

fn kept_faces(path: &Path, preprocessing: &Preprocessing, seed: u64) -> anyhow::Result<Vec<RgbImage>> {
    let folder = AlignedFolder::read(path)?;
    let mut faces: Vec<&AlignedFace> = folder.faces.iter().collect();
    ensure!(!faces.is_empty(), "{} has no faces to keep", path.display());
    faces.shuffle(&mut random_of(&[seed, 0xe_e9]));
    faces.truncate(KEPT);
    cuts(&folder, &faces, preprocessing.alignment)
}
