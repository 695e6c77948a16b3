//! `kith-export audit`: which photos may be wrong, for a person to look at.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use kith::align::Alignment;
use kith::commands::terminal::say;
use kith::networks::Networks;

use super::runtime::RuntimeArgs;
use crate::faces::{AlignedFolder, Audit, Suspect, Why, audit, contact_sheet};
use crate::whole_file::write_whole;

/// The arguments of `kith-export audit`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  kith-export audit faces --sheet audit.png --out disputed.txt\n\n\
    Look at the sheet, take the lines of photos that are right out of disputed.txt, and give the rest to the other\n\
    commands with --without disputed.txt. Doubles need no list: split keeps them together."
)]
pub struct Args {
    /// Folder that kith-export align made
    #[arg(value_name = "FACES")]
    pub faces: PathBuf,
    /// Write the photos under suspicion as a list of disputed photos
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Draw them and the doubles, beside what they are compared with
    #[arg(long, value_name = "FILE.png")]
    pub sheet: Option<PathBuf>,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Where ONNX Runtime and the networks are
    #[command(flatten)]
    pub runtime: RuntimeArgs,
}

/// Faces that are embedded in one run.
const BATCH: usize = 32;

/// Runs `kith-export audit`.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = AlignedFolder::read(&args.faces)?;
    ensure!(
        folder.people().len() >= 2,
        "the faces in {} are not of two or more named people, so no name can be doubted",
        args.faces.display()
    );
    let (embeddings, threshold_cosine) = embed(&folder, &args.runtime)?;
    let found = audit(&folder.faces, &embeddings, threshold_cosine);
    if let Some(file) = &args.sheet {
        let sheet = contact_sheet(&folder, &embeddings, &found)?;
        let mut png = std::io::Cursor::new(Vec::new());
        sheet.write_to(&mut png, image::ImageFormat::Png)?;
        write_whole(file, png.get_ref())?;
    }
    if let Some(file) = &args.out {
        write_whole(file, list(&found)?.as_bytes())?;
    }
    if args.json {
        return Ok(say(serde_json::to_string(&found)?)?);
    }
    print(&found)
}

/// The embeddings of all faces, and what two photos of one person have as a rule.
fn embed(folder: &AlignedFolder, runtime: &RuntimeArgs) -> anyhow::Result<(Vec<Vec<f32>>, f32)> {
    let mut networks = Networks::open(&runtime.settings())?;
    let model = networks.embedder.model();
    let alignment = Alignment::named(&model.alignment)
        .with_context(|| format!("{} wants faces aligned by {:?}", model.name, model.alignment))?;
    let thresholds = model.thresholds;
    let threshold = thresholds.with_context(|| format!("{} has no threshold in the catalogue", model.name))?;
    let bar = ProgressBar::new(folder.faces.len() as u64).with_style(ProgressStyle::with_template(
        "{bar:30} {pos} of {len} faces, {eta} left",
    )?);
    let mut embeddings = Vec::with_capacity(folder.faces.len());
    for faces in folder.faces.chunks(BATCH) {
        let crops = faces
            .iter()
            .map(|face| folder.crop(face, alignment))
            .collect::<Result<Vec<_>, _>>()?;
        let embedded = networks.embedder.embed(&crops)?;
        embeddings.extend(embedded.iter().map(|embedding| embedding.as_slice().to_vec()));
        bar.inc(faces.len() as u64);
    }
    bar.finish_and_clear();
    Ok((embeddings, threshold.cosine))
}

fn reason(suspect: &Suspect) -> String {
    let other = format!("{:.2} to {}", suspect.nearest_cosine, suspect.nearest_person);
    let own = suspect
        .own_cosine
        .map_or("no other photo to compare with".into(), |own| {
            format!("{own:.2} to its own")
        });
    match suspect.why {
        Why::NearerAnotherCentre => format!("nearer another person: {other}, {own}"),
        Why::AmongAnother => format!("its nearest photos are of another person: {other}, {own}"),
        Why::UnlikeOwn => format!("unlike its own person: {own}, {other}"),
    }
}

fn list(found: &Audit) -> anyhow::Result<String> {
    let mut text = String::from(
        "# Photos that kith-export audit doubts. Look at each; take out those that are right, and say for the others what is.\n",
    );
    for suspect in &found.suspects {
        writeln!(text, "{}  # {}", suspect.file, reason(suspect))?;
    }
    for double in found.doubles.iter().filter(|double| double.is_across_people) {
        let [a, b] = &double.files;
        writeln!(
            text,
            "# {a} and {b}, of two people: {}; one of them is wrong",
            double.why
        )?;
    }
    Ok(text)
}

fn print(found: &Audit) -> anyhow::Result<()> {
    for suspect in &found.suspects {
        say(format_args!("{}  {}", suspect.file, reason(suspect)))?;
    }
    for double in &found.doubles {
        let [a, b] = &double.files;
        let across = if double.is_across_people { " OF TWO PEOPLE" } else { "" };
        say(format_args!(
            "double{across}: {a} and {b}, {}, cosine {:.2}",
            double.why, double.cosine
        ))?;
    }
    let across = found.doubles.iter().filter(|double| double.is_across_people).count();
    say(format_args!(
        "{} photos to look at, {} pairs of doubles, {across} of them across people",
        found.suspects.len(),
        found.doubles.len()
    ))?;
    Ok(())
}
