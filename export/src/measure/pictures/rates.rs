//! Curves of two rates: ROC, and identification with strangers.

use plotters::prelude::*;

use super::svg::{GRID, INK, SMALL_PX, SOFT, TEXT_PX, colour, drawn, letters, percent};
use crate::measure::rates::CurvePoint;

/// A named curve.
#[derive(Debug)]
pub(super) struct Line<'a> {
    name: &'a str,
    points: &'a [CurvePoint],
    /// The lowest false rate that is drawn.
    rarest: f64,
}

impl<'a> Line<'a> {
    pub(super) fn new(name: &'a str, points: &'a [CurvePoint]) -> Self {
        Self {
            name,
            points,
            rarest: 0.0,
        }
    }

    /// Drawn from the rate of one photo on: strangers come again in every run, so that lower rates are in the pooled
    /// searches, but no other photos.
    #[expect(clippy::cast_precision_loss, reason = "a number of photos")]
    pub(super) fn of_photos(self, photos: usize) -> Self {
        let rarest = 1.0 / photos.max(1) as f64;
        Self { rarest, ..self }
    }

    fn shown(&self) -> impl Iterator<Item = &'a CurvePoint> {
        let rarest = self.rarest;
        self.points.iter().filter(move |point| point.false_rate >= rarest)
    }
}

pub(super) fn roc(title: &str, lines: &[Line<'_>]) -> anyhow::Result<String> {
    picture(
        title,
        "Receiver operating characteristic: pairs accepted as one person",
        [
            "false accept rate (pairs of two people)",
            "true accept rate (pairs of one person)",
        ],
        lines,
    )
}

pub(super) fn open_set(title: &str, lines: &[Line<'_>]) -> anyhow::Result<String> {
    picture(
        title,
        "All strangers pooled: who is named rightly while strangers are kept out",
        [
            "false positive identification rate (strangers named)",
            "true positive identification rate (known people named rightly)",
        ],
        lines,
    )
}

/// False rate by its logarithm across, true rate up from the lowest that shows.
fn picture(title: &str, below: &str, [across, up]: [&str; 2], lines: &[Line<'_>]) -> anyhow::Result<String> {
    let points = || lines.iter().flat_map(Line::shown);
    let rarest = points()
        .map(|point| point.false_rate)
        .filter(|rate| *rate > 0.0)
        .fold(1.0, f64::min);
    // Whole decades, at least two; a little more, so that the first one's label is within.
    let left = 0.999 * 10_f64.powf(rarest.log10().floor()).clamp(1e-6, 1e-2);
    let lowest = points()
        .filter(|point| point.false_rate >= left)
        .map(|point| point.true_rate)
        .fold(1.0, f64::min);
    // High curves are looked at from near.
    let bottom = [0.9, 0.8, 0.5, 0.0]
        .into_iter()
        .find(|bottom| lowest > *bottom)
        .unwrap_or(0.0);
    drawn((820, 620), title, below, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_left(16)
            .margin_right(40)
            .margin_bottom(12)
            .margin_top(8)
            .x_label_area_size(60)
            .y_label_area_size(84)
            .build_cartesian_2d((left..1.0).log_scale(), bottom..1.0)?;
        chart
            .configure_mesh()
            .x_desc(across)
            .y_desc(up)
            .x_label_formatter(&|rate| percent(*rate))
            .y_label_formatter(&|rate| percent(*rate))
            .y_labels(11)
            .axis_style(SOFT)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(letters(SMALL_PX, INK))
            .axis_desc_style(letters(TEXT_PX, INK))
            .draw()?;
        for (index, line) in lines.iter().enumerate() {
            let ink = colour(index);
            // Without a stranger passing, the rate has no logarithm: its line begins at the left edge.
            let mut drawn: Vec<(f64, f64)> = Vec::new();
            for point in line.shown() {
                let next = (point.false_rate.max(left), point.true_rate);
                // Between two points the rates jump, so the line is one of steps: first across, then up.
                if let Some(&(_, before)) = drawn.last() {
                    drawn.push((next.0, before));
                }
                drawn.push(next);
            }
            chart
                .draw_series(LineSeries::new(drawn, ink.stroke_width(3)))?
                .label(line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], ink.stroke_width(3)));
        }
        if lines.len() > 1 {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .background_style(WHITE)
                .border_style(GRID)
                .legend_area_size(30)
                .margin(12)
                .label_font(letters(TEXT_PX, INK))
                .draw()?;
        }
        Ok(())
    })
}
