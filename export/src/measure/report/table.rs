//! The table of a report: plain text, aligned columns, no colours.

use std::fmt::{self, Write};

use kith::verification::Estimate;

use super::Report;
use crate::measure::closed_set::ClosedSet;
use crate::measure::open_set::{Against, OpenSet};
use crate::measure::pairs::Pairs;

/// Wrong answers listed under a method; the report as JSON has all.
const WRONG_SHOWN: usize = 20;

pub(super) fn table(report: &Report) -> String {
    let mut out = String::new();
    // Writing into a String never fails.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    let about = &report.about;
    writeln!(out, "{} ({})", about.model, about.embedding_space)?;
    write!(
        out,
        "{}: {} photos of {} people, {} folds",
        about.faces,
        report.photos,
        about.people.len(),
        report.folds
    )?;
    if let Some(without) = &about.without {
        write!(out, ", without those of {without}")?;
    }
    writeln!(out, "\n\nHeld-out photos, everybody known")?;
    let mut rows = vec![row(["named by", "right", "share", "95 % by person", "95 % by photo"])];
    let head = about
        .head_reads
        .as_ref()
        .map_or_else(|| "head".into(), |reads| format!("head on {reads}"));
    let methods: Vec<(&str, &ClosedSet)> = [
        ("nearest neighbour", Some(&report.by_nearest_neighbour)),
        ("class centre", Some(&report.by_class_centre)),
        (head.as_str(), report.by_head.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, figures)| figures.map(|figures| (name, figures)))
    .collect();
    for (name, figures) in &methods {
        rows.push(vec![
            (*name).to_string(),
            format!("{} of {}", figures.right, figures.photos),
            percent(figures.accuracy_by_person.value),
            interval(&figures.accuracy_by_person),
            interval(&figures.accuracy_by_photo),
        ]);
    }
    columns(out, &rows)?;
    if let Some(reliability) = &report.reliability {
        writeln!(
            out,
            "\nThe head's probabilities are off by {} on average (expected calibration error, ten bins)",
            percent(reliability.expected_error)
        )?;
    }
    for (name, open) in [
        ("by similarity to the nearest face", &report.open_set_by_distance),
        ("by the head's highest probability", &report.open_set_by_head),
    ] {
        if let Some(open) = open {
            open_set(out, name, open)?;
        }
    }
    for (name, pairs) in [
        ("Pairs of held-out photos", &report.held_out_pairs),
        ("Pairs of the pairs file", &report.labelled_pairs),
    ] {
        if let Some(pairs) = pairs {
            pairs_lines(out, name, pairs)?;
        }
    }
    for (name, figures) in &methods {
        wrong(out, name, figures, &about.people)?;
    }
    Ok(())
}

fn open_set(out: &mut String, name: &str, open: &OpenSet) -> fmt::Result {
    writeln!(
        out,
        "\nStrangers come too, {name}\n{} searches with {} photos of known people",
        open.known_searches, open.known_photos
    )?;
    let mut rows = vec![row([
        "strangers",
        "people",
        "photos",
        "FPIR",
        "threshold",
        "TPIR",
        "95 % by person",
    ])];
    let kinds: [(&str, Option<&Against>); 3] = [
        ("all, pooled", Some(&open.all)),
        ("left out in turn", open.left_out.as_ref()),
        ("second folder", open.second_folder.as_ref()),
    ];
    for (kind, against) in kinds {
        // With one kind of stranger the pooled rows say it all.
        let Some(against) = against.filter(|against| kind == "all, pooled" || against.searches < open.all.searches)
        else {
            continue;
        };
        for point in &against.at {
            rows.push(vec![
                kind.to_string(),
                against.people.to_string(),
                against.photos.to_string(),
                rate(point.fpir),
                format!("{:.3}", point.threshold),
                percent(point.tpir.value),
                interval(&point.tpir),
            ]);
        }
    }
    columns(out, &rows)
}

fn pairs_lines(out: &mut String, name: &str, pairs: &Pairs) -> fmt::Result {
    let folds = if pairs.folds_are_of_people {
        "folds of disjoint people"
    } else {
        "folds of photos, of the same people"
    };
    writeln!(
        out,
        "\n{name}: {} of one person, {} of two, {} {folds}",
        pairs.same, pairs.different, pairs.folds
    )?;
    if pairs.without_face > 0 {
        writeln!(
            out,
            "{} of them with a photo without a face found, counted as two people",
            pairs.without_face
        )?;
    }
    let mut rows = vec![row(["", "threshold", "share", "95 % by person"])];
    rows.push(vec![
        "judged rightly".into(),
        "of other folds".into(),
        percent(pairs.accuracy.value),
        interval(&pairs.accuracy),
    ]);
    for at in &pairs.rates {
        rows.push(vec![
            format!("TAR at FAR {}", rate(at.false_accept_rate)),
            format!("{:.3}", at.threshold_cosine),
            percent(at.true_accept_rate.value),
            interval(&at.true_accept_rate),
        ]);
    }
    columns(out, &rows)
}

fn wrong(out: &mut String, name: &str, figures: &ClosedSet, people: &[String]) -> fmt::Result {
    if figures.wrong.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nWrong by {name}")?;
    let person = |index: usize| people.get(index).cloned().unwrap_or_else(|| format!("person {index}"));
    let mut rows = vec![row(["photo", "said", "score"])];
    for wrong in figures.wrong.iter().take(WRONG_SHOWN) {
        rows.push(vec![
            wrong.file.clone(),
            person(wrong.said),
            format!("{:.3}", wrong.score),
        ]);
    }
    columns(out, &rows)?;
    match figures.wrong.len().saturating_sub(WRONG_SHOWN) {
        0 => Ok(()),
        more => writeln!(out, "  and {more} more"),
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(String::from).to_vec()
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// A stated rate, without digits that nobody stated.
fn rate(share: f64) -> String {
    format!("{} %", kith::verification::fit::to_places(share * 100.0, 6))
}

fn interval(estimate: &Estimate) -> String {
    format!("{:.2} to {:.2}", estimate.low * 100.0, estimate.high * 100.0)
}

/// Two spaces before each column; text to the left, numbers (every column in which a cell begins with a digit) to the
/// right.
fn columns(out: &mut String, rows: &[Vec<String>]) -> fmt::Result {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &'_ Vec<String>, column: usize| row.get(column).cloned().unwrap_or_default();
    let layout: Vec<(usize, bool)> = (0..count)
        .map(|column| {
            let width = rows
                .iter()
                .map(|row| cell(row, column).chars().count())
                .max()
                .unwrap_or(0);
            let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
            (
                width,
                column > 0 && rows.iter().skip(1).any(|row| is_number(&cell(row, column))),
            )
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (column, (width, to_the_right)) in layout.iter().enumerate() {
            let text = cell(row, column);
            if *to_the_right {
                write!(line, "  {text:>width$}")?;
            } else {
                write!(line, "  {text:<width$}")?;
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
