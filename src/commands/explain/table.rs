//! The explanation for people at a terminal.

use std::fmt::Write as _;
use std::io;

use crate::commands::identify::percent;
use crate::commands::terminal::say;
use crate::config::CameraSettings;
use crate::explanation::{Explained, Reason, Spoken, explain, unwatched};
use crate::identify::Identification;
use crate::playback::{Outcome, Playback, Reel, Seen};
use crate::quality::Quality;

/// People who are named beside a shot.
const RANKED: usize = 2;

pub(super) fn tell(
    name: &str,
    reel: &Reel,
    played: &Playback,
    min_shots: usize,
    camera: &CameraSettings,
) -> io::Result<()> {
    let is_clip = matches!(reel, Reel::Clip(_));
    let visits = explain(played, min_shots);
    let least_px = camera.min_face_px;
    if is_clip {
        say(format_args!(
            "{name}: {:.1} s, {} frames{}, {}; faces from {least_px} px",
            played.duration_s,
            played.frames,
            if played.still > 0 {
                format!(" ({} without movement, not searched)", played.still)
            } else {
                String::new()
            },
            counted(visits.len(), "visit", "visits"),
        ))?;
    } else {
        say(format_args!(
            "{name}: {}; faces from {least_px} px",
            counted(visits.len(), "face", "faces")
        ))?;
    }
    for (number, visit) in visits.iter().enumerate() {
        say(format_args!("\n{}", heading(number + 1, visit, is_clip)))?;
        shots(visit, is_clip)?;
        reasons(visit)?;
    }
    let unwatched = unwatched(played);
    if !unwatched.is_empty() {
        say("\nnot followed at all")?;
        for (reason, count) in unwatched {
            say(format_args!("  {}: {reason}", counted(count, "face", "faces")))?;
            advise(&reason)?;
        }
    }
    if visits.is_empty() && played.unwatched.is_empty() {
        say(
            "\n  no face was found: a face has to be upright, lit, and about half from the front; try --min-face with a \
             smaller number",
        )?;
    }
    say("")
}

fn heading(number: usize, explained: &Explained<'_>, is_clip: bool) -> String {
    let visit = explained.visit;
    let mut line = if is_clip {
        format!("visit {number}, {:.2} to {:.2} s: ", visit.first_s, visit.last_s)
    } else {
        format!("face {number}: ")
    };
    line += &answer(&explained.answer);
    if is_clip {
        // Writing to a string does not fail.
        let _ = match (visit.first_word_s(), visit.verdict_s()) {
            (Some(first_s), Some(verdict_s)) if first_s < verdict_s => {
                write!(line, " (first word at {first_s:.2} s, verdict at {verdict_s:.2} s)")
            }
            (_, Some(verdict_s)) => write!(line, " (verdict at {verdict_s:.2} s)"),
            (Some(first_s), None) => write!(line, " (first word at {first_s:.2} s)"),
            (None, None) => Ok(()),
        };
    }
    line
}

fn answer(said: &Spoken) -> String {
    let so_far = |preliminary: bool| if preliminary { ", preliminary" } else { "" };
    match said {
        Spoken::Nothing => "nothing is said".to_owned(),
        Spoken::Name {
            person,
            confidence,
            preliminary,
        } => format!("{}, {} %{}", person.name, percent(*confidence), so_far(*preliminary)),
        Spoken::Unknown {
            similar_to,
            preliminary,
            ..
        } => {
            let like = similar_to.as_ref().map(|person| format!(", most like {}", person.name));
            format!("unknown{}{}", like.unwrap_or_default(), so_far(*preliminary))
        }
    }
}

/// A row for each face that was embedded.
fn shots(explained: &Explained<'_>, is_clip: bool) -> io::Result<()> {
    let rows: Vec<(&Seen, &Quality, Option<&Identification>)> = explained
        .visit
        .faces
        .iter()
        .filter_map(|seen| match &seen.outcome {
            Outcome::Shot { quality, said } => Some((seen, quality, said.as_deref())),
            _ => None,
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let time = if is_clip { "   time s" } else { "" };
    say(format_args!(
        "{time}   height   sharpness   turned   face   quality   nearest people"
    ))?;
    for (seen, quality, said) in rows {
        let time = if is_clip {
            format!("{:>9.2}", seen.at_s)
        } else {
            String::new()
        };
        say(format_args!(
            "{time}{:>6.0} px {:>11.2} {:>7.0}° {:>6.2} {:>9.2}   {}",
            quality.size_px,
            quality.sharpness,
            quality.yaw_degrees,
            quality.probability,
            quality.score(),
            said.map(nearest).unwrap_or_default()
        ))?;
    }
    Ok(())
}

fn nearest(said: &Identification) -> String {
    let people = said.ranked.iter().take(RANKED).map(|one| {
        let ruled_out = if one.ruled_out_by.is_some() { " (ruled out)" } else { "" };
        format!("{} {:.2}{ruled_out}", one.person.name, one.similarity)
    });
    let named = if said.answer.person().is_some() { "= " } else { "  " };
    format!("{named}{}", people.collect::<Vec<_>>().join(", "))
}

fn reasons(explained: &Explained<'_>) -> io::Result<()> {
    for reason in &explained.reasons {
        say(format_args!("  why: {reason}"))?;
        advise(reason)?;
    }
    let is_told = |reason: &Reason| explained.reasons.contains(reason);
    let rest = explained.passed_over.iter().filter(|(reason, _)| !is_told(reason));
    for (reason, count) in rest {
        say(format_args!(
            "  {} not used; the best: {reason}",
            counted(*count, "sight was", "sights were")
        ))?;
    }
    Ok(())
}

fn advise(reason: &Reason) -> io::Result<()> {
    match reason.advice() {
        Some(advice) => say(format_args!("       {advice}")),
        None => Ok(()),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
