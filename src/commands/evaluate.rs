//! `kith evaluate`: how right the daemon is about clips whose visitors are known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;

use super::Common;
use super::as_camera::{AsCamera, Seat};
use super::enroll::folder_of_people;
use super::terminal::{complain, say};
use crate::admin::Keeper;
use crate::enrolment::{self, Photos, Rules, Which};
use crate::evaluation::{ClipTruth, Delays, Evaluation, Truth, VisitOutcome};
use crate::gallery::{Gallery, Name, Who};
use crate::identify::{IdentifierSource, IdentifyBy};
use crate::networks::Networks;
use crate::playback::{Playback, Player, Reel};

/// The arguments of `kith evaluate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kith evaluate door.mp4 --truth truth.json                   visits that were named, missed, named wrongly
  kith evaluate door.mp4 --truth truth.json --min-face 30     with smaller faces than the usual 40 px
  kith evaluate *.mp4 --truth truth.json --config kith.toml --camera door
  kith evaluate street.mp4 --strangers --crowd photos/        nobody of photos/ is in the clip: is anybody named?

The truth file says for each clip, by its file name, which photos to enrol and who is in view when; the guide has its
form (docs/guide/why-not-recognised.md). People are enrolled in a gallery of this run only. The exit code is 1 when
something came out wrong.")]
pub struct Args {
    /// Video files
    #[arg(required = true, value_name = "CLIP")]
    pub clips: Vec<PathBuf>,
    /// Who is to be seen in which clip, and when
    #[arg(long, value_name = "FILE", required_unless_present = "strangers")]
    pub truth: Option<PathBuf>,
    /// Instead of a truth file: the clips show strangers only
    #[arg(long, conflicts_with = "truth", requires = "crowd")]
    pub strangers: bool,
    /// Enrol the people of all clips in the truth file, not only those of the clip: more to be mistaken for
    #[arg(long, requires = "truth")]
    pub with_everybody: bool,
    /// Enrol the people of this folder too, a folder each, by the first photo that shows nobody else: more to be
    /// mistaken for (may be given more than once)
    #[arg(long, value_name = "DIR")]
    pub crowd: Vec<PathBuf>,
    /// One JSON object a line instead of text
    #[arg(long)]
    pub json: bool,
    /// Whose settings count.
    #[command(flatten)]
    pub as_camera: AsCamera,
}

#[derive(Serialize)]
struct EvaluationLine<'a> {
    clip: String,
    right: bool,
    enrolled: usize,
    min_face_px: u32,
    frames_per_second: f64,
    frames: u64,
    longest_work_ms: u128,
    #[serde(flatten)]
    evaluation: &'a Evaluation,
}

/// Runs `kith evaluate`. Exit code 1 when something came out wrong.
///
/// # Errors
/// With a sentence for the person at the terminal.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<ExitCode> {
    let truth = args.truth.as_deref().map(Truth::read).transpose()?;
    let strangers = ClipTruth::strangers();
    // Every clip before the networks: a wrong name should be told at once.
    let clips = args
        .clips
        .iter()
        .map(|clip| Ok((clip, truth.as_ref().map_or(Ok(&strangers), |truth| truth.of(clip))?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut crowd = Vec::new();
    for folder in &args.crowd {
        crowd.extend(folder_of_people(folder, None)?);
    }
    let mut seat = args.as_camera.seat(common)?;
    if seat.identify_by != IdentifyBy::Gallery {
        complain("kith: people are enrolled from the truth file's photos, so the configuration's head is not asked");
    }
    let source = IdentifierSource::open(&IdentifyBy::Gallery, &mut seat.runtime)?;
    let mut networks = Networks::open(&seat.runtime)?;
    let mut all_right = true;
    let scratch = || tempfile::tempdir().context("can't make a folder for the gallery of this run");
    let crowd = enrolled_crowd(&crowd, scratch()?.path(), &mut networks)?;
    for (clip, expected) in clips {
        let scratch = scratch()?;
        let mut keeper = Keeper::open(scratch.path(), None)?;
        let in_crowd = keeper.import(&mut crowd.as_slice())?.len();
        let photos = truth.as_ref().map(|truth| truth.photos(expected, args.with_everybody));
        let enrolled = in_crowd + enrol(photos.unwrap_or_default(), &mut keeper, &mut networks)?;
        let gallery = Gallery::open_read_only(scratch.path())?;
        let rules = seat.rules(&networks.embedder);
        let mut player = Player {
            identifier: source.identifier(Some(&gallery))?,
            networks: &mut networks,
            camera: seat.camera.clone(),
            rules,
            in_detail: false,
        };
        let played = player
            .play(&Reel::Clip(clip.clone()))
            .with_context(|| clip.display().to_string())?;
        let evaluation = Evaluation::of(&played, expected);
        all_right &= evaluation.is_right();
        if args.json {
            say(serde_json::to_string(&line(
                clip,
                enrolled,
                &seat,
                &played,
                &evaluation,
            ))?)?;
        } else {
            tell(clip, enrolled, &seat, &played, &evaluation)?;
        }
    }
    Ok(if all_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Enrols people of whom no more is asked than that they are not in the clips; returns them as an export.
fn enrolled_crowd(crowd: &[Photos], scratch: &Path, networks: &mut Networks) -> anyhow::Result<Vec<u8>> {
    let mut keeper = Keeper::open(scratch, None)?;
    let rules = Rules {
        which: Which::Only,
        keep_crop: false,
        skip_bad: true,
    };
    for person in crowd {
        for photo in &person.files {
            let one = Photos {
                files: vec![photo.clone()],
                ..person.clone()
            };
            if !enrolment::enrol(&mut keeper, networks, &[one], &rules, &|| {})?
                .enrolled
                .is_empty()
            {
                break;
            }
        }
    }
    let mut export = Vec::new();
    Gallery::open(scratch)?.export(&[], &mut export)?;
    Ok(export)
}

/// Enrols whom the truth file names, by id; returns how many.
fn enrol(photos: BTreeMap<String, PathBuf>, keeper: &mut Keeper, networks: &mut Networks) -> anyhow::Result<usize> {
    if photos.is_empty() {
        return Ok(0);
    }
    let people = photos
        .into_iter()
        .map(|(id, file)| {
            let name = Name::parse(&id).with_context(|| format!("{id:?} in the truth file can't be a name"))?;
            Ok(Photos {
                who: Who::Named(name),
                role: None,
                files: vec![file],
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let rules = Rules {
        which: Which::Only,
        keep_crop: false,
        skip_bad: false,
    };
    let report = enrolment::enrol(keeper, networks, &people, &rules, &|| {})?;
    if let Some((file, refusal)) = report.refused.first() {
        bail!("the truth file's {}: {refusal}", file.display());
    }
    for (enrolled, photos) in report.enrolled.iter().zip(&people) {
        let id = &enrolled.enrolled.person.id;
        if let Who::Named(name) | Who::New(name) = &photos.who
            && id != name.as_str()
        {
            bail!("the truth file's {:?} is no id; it would be {id:?}", name.as_str());
        }
    }
    Ok(report.enrolled.len())
}

fn line<'a>(
    clip: &Path,
    enrolled: usize,
    seat: &Seat,
    played: &Playback,
    evaluation: &'a Evaluation,
) -> EvaluationLine<'a> {
    EvaluationLine {
        clip: clip.to_string_lossy().into_owned(),
        right: evaluation.is_right(),
        enrolled,
        min_face_px: seat.camera.min_face_px,
        frames_per_second: seat.camera.frames_per_second,
        frames: played.frames,
        longest_work_ms: played.longest_work.as_millis(),
        evaluation,
    }
}

fn tell(clip: &Path, enrolled: usize, seat: &Seat, played: &Playback, evaluation: &Evaluation) -> anyhow::Result<()> {
    let right = if evaluation.is_right() { "right" } else { "WRONG" };
    say(format_args!(
        "{}: {right} ({:.1} s, {} frames; {enrolled} enrolled, faces from {} px)",
        clip.display(),
        played.duration_s,
        played.frames,
        seat.camera.min_face_px
    ))?;
    if !evaluation.visits.is_empty() {
        let people = evaluation.visits.iter().map(|visit| visit.expected.person.len());
        let width = people.max().unwrap_or(0).max("visit of".len());
        say(format_args!(
            "  {:width$}   from s     to s   first word   verdict   confidence",
            "visit of"
        ))?;
        for visit in &evaluation.visits {
            say(visit_row(visit, width))?;
        }
    }
    for false_name in &evaluation.false_names {
        let word = if false_name.preliminary { "preliminary, " } else { "" };
        say(format_args!(
            "  WRONG: {} was named at {:.2} s and is not there ({word}{:.0} %)",
            false_name.person,
            false_name.at_s,
            false_name.confidence * 100.0
        ))?;
    }
    let wrong_if = |wrong: bool| if wrong { "WRONG: " } else { "" };
    let unknown = evaluation.strangers.len();
    say(format_args!(
        "  {}{unknown} of other people ended as unknown{}",
        wrong_if(evaluation.stranger_missed || evaluation.extra() > 0),
        match (evaluation.stranger_missed, evaluation.extra()) {
            (true, _) => ", but somebody else is there",
            (false, 0) => "",
            (false, _) => ", but nobody else is there",
        }
    ))?;
    if evaluation.without_verdict > 0 {
        say(format_args!(
            "  {} tracks had no shot that could be used (kith explain says why)",
            evaluation.without_verdict
        ))?;
    }
    for (what, delays) in [("first word", &evaluation.first_word), ("verdict", &evaluation.verdict)] {
        if let Some(told) = delay(delays) {
            say(format_args!("  {}{what} {told}", wrong_if(delays.late > 0)))?;
        }
    }
    Ok(())
}

fn visit_row(visit: &VisitOutcome, width: usize) -> String {
    let expected = &visit.expected;
    let begin = format!(
        "  {:width$} {:>8.2} {:>8.2}",
        expected.person, expected.from_s, expected.to_s
    );
    match &visit.named {
        Some(named) => {
            let after = |after_s: f64| format!("+{after_s:.2} s");
            let tracks = match named.tracks {
                1 => String::new(),
                tracks => format!("   in {tracks} tracks"),
            };
            format!(
                "{begin} {:>12} {:>9} {:>10.0} %{tracks}",
                named.first_word_after_s.map(after).unwrap_or_default(),
                after(named.after_s),
                named.confidence * 100.0
            )
        }
        None if visit.instead.is_empty() => format!("{begin}   WRONG: missed; no face was followed then"),
        None => format!("{begin}   WRONG: missed; there was {}", visit.instead.join(", ")),
    }
}

fn delay(delays: &Delays) -> Option<String> {
    let (median_s, longest_s) = (delays.median_s?, delays.longest_s?);
    let late = match delays.late {
        0 => String::new(),
        late => format!(", {late} late"),
    };
    Some(format!(
        "after the first usable shot: median {median_s:.2} s, longest {longest_s:.2} s (allowed {:.1} s{late})",
        delays.within_s
    ))
}
