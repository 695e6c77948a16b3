//! How alike pairs of one person are, and pairs of two.

use plotters::prelude::*;

use super::svg::{GRID, INK, SMALL_PX, SOFT, TEXT_PX, colour, drawn, letters, percent};
use crate::measure::pairs::RateAt;

/// Both histograms over each other, as shares of their own pairs: there are many more pairs of two people.
#[expect(clippy::cast_precision_loss, reason = "counts of pairs")]
pub(super) fn similarities(
    title: &str,
    same: &[usize],
    different: &[usize],
    threshold: Option<&RateAt>,
) -> anyhow::Result<String> {
    let shares = |counts: &[usize]| -> Vec<f64> {
        let all = counts.iter().sum::<usize>().max(1) as f64;
        counts.iter().map(|count| *count as f64 / all).collect()
    };
    let (same_shares, different_shares) = (shares(same), shares(different));
    let step = 2.0 / same.len().max(1) as f64;
    let begin = |bin: usize| bin as f64 * step - 1.0;
    let used = |bin: &usize| same.get(*bin).is_some_and(|n| *n > 0) || different.get(*bin).is_some_and(|n| *n > 0);
    let first = (0..same.len()).find(used).unwrap_or(0);
    let last = (0..same.len()).rev().find(used).unwrap_or(0);
    let highest = same_shares
        .iter()
        .chain(&different_shares)
        .copied()
        .fold(0.01, f64::max);
    // Room for the legend above the bars.
    let top = highest * 1.25;
    let below = threshold.map_or_else(
        || "Share of the pairs of each kind, by cosine similarity".to_string(),
        |at| {
            format!(
                "Share of the pairs of each kind; right of the line lies {} of the pairs of two people",
                percent(at.false_accept_rate)
            )
        },
    );
    drawn((820, 560), title, &below, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_left(16)
            .margin_right(32)
            .margin_bottom(12)
            .margin_top(8)
            .x_label_area_size(60)
            .y_label_area_size(84)
            .build_cartesian_2d(begin(first) - step..begin(last) + 2.0 * step, 0.0..top)?;
        chart
            .configure_mesh()
            .x_desc("cosine similarity of two photos")
            .y_desc("share of pairs")
            // Adding a zero turns -0 into 0.
            .x_label_formatter(&|value| format!("{:.1}", (value * 10.0).round() / 10.0 + 0.0))
            .y_label_formatter(&|share| percent(*share))
            .disable_x_mesh()
            .axis_style(SOFT)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(letters(SMALL_PX, INK))
            .axis_desc_style(letters(TEXT_PX, INK))
            .draw()?;
        for (name, shares, index) in [("two people", &different_shares, 1), ("one person", &same_shares, 0)] {
            let ink = colour(index);
            let bars = shares
                .iter()
                .enumerate()
                .filter(|(_, share)| **share > 0.0)
                .map(|(bin, share)| {
                    Rectangle::new([(begin(bin), 0.0), (begin(bin + 1), *share)], ink.mix(0.55).filled())
                });
            chart
                .draw_series(bars)?
                .label(name)
                .legend(move |(x, y)| Rectangle::new([(x + 2, y - 7), (x + 20, y + 7)], ink.mix(0.55).filled()));
        }
        if let Some(at) = threshold {
            let x = f64::from(at.threshold_cosine);
            chart.draw_series([PathElement::new([(x, 0.0), (x, top)], INK.stroke_width(2))])?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE)
            .border_style(GRID)
            .legend_area_size(30)
            .margin(12)
            .label_font(letters(TEXT_PX, INK))
            .draw()?;
        Ok(())
    })
}
