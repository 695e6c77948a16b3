//! Pictures of a report and of a training run: SVG on a light ground, in colours that people with colour blindness can
//! tell apart (Okabe and Ito, 2008), readable in print and on a page.

mod confusion;
mod curves;
mod faces;
mod histogram;
mod map;
mod plane;
mod rates;
mod reliability;
mod svg;

use std::path::Path;

use anyhow::Context;

pub use curves::training_curves;
pub use faces::faces_map;
pub use map::{MapPoint, embedding_map};
pub use plane::{PlaneError, plane};

use super::report::Report;
use rates::Line;

/// As [`Report::draw`].
pub(super) fn draw_report(report: &Report, folder: &Path) -> anyhow::Result<Vec<String>> {
    std::fs::create_dir_all(folder).with_context(|| format!("can't make the folder {}", folder.display()))?;
    let people = &report.about.people;
    let model = &report.about.model;
    let mut pictures: Vec<(&str, anyhow::Result<String>)> = vec![(
        "confusion-nearest-neighbour.svg",
        confusion::matrix(
            &format!("{model}, by nearest neighbour"),
            people,
            &report.by_nearest_neighbour,
        ),
    )];
    if let Some(head) = &report.by_head {
        pictures.push((
            "confusion-head.svg",
            confusion::matrix(&format!("{model}, by head"), people, head),
        ));
    }
    for (roc_file, histogram_file, kind, pairs) in [
        (
            "roc-held-out.svg",
            "similarities-held-out.svg",
            "held-out photos",
            &report.held_out_pairs,
        ),
        (
            "roc-pairs-file.svg",
            "similarities-pairs-file.svg",
            "all photos of the pairs file",
            &report.labelled_pairs,
        ),
    ] {
        let Some(pairs) = pairs else { continue };
        let lines = [Line::new("all pairs", &pairs.roc)];
        pictures.push((roc_file, rates::roc(&format!("{model}, pairs of {kind}"), &lines)));
        let threshold = pairs.rates.first();
        let title = format!("{model}, pairs of {kind}");
        pictures.push((
            histogram_file,
            histogram::similarities(&title, &pairs.same_histogram, &pairs.different_histogram, threshold),
        ));
    }
    let open: Vec<Line<'_>> = [
        ("by distance", &report.open_set_by_distance),
        ("by head", &report.open_set_by_head),
    ]
    .into_iter()
    .filter_map(|(name, open)| {
        open.as_ref()
            .map(|open| Line::new(name, &open.all.curve).of_photos(open.all.photos))
    })
    .collect();
    if !open.is_empty() {
        pictures.push((
            "open-set.svg",
            rates::open_set(&format!("{model}, strangers come too"), &open),
        ));
    }
    if let Some(reliability) = &report.reliability {
        pictures.push((
            "reliability.svg",
            reliability::diagram(&format!("{model}, the head's probabilities"), reliability),
        ));
    }
    let mut files = Vec::new();
    for (file, picture) in pictures {
        let picture = picture.with_context(|| format!("can't draw {file}"))?;
        let path = folder.join(file);
        std::fs::write(&path, picture).with_context(|| format!("can't write {}", path.display()))?;
        files.push(file.to_string());
    }
    Ok(files)
}

#[cfg(test)]
#[path = "../pictures_tests.rs"]
mod tests;
