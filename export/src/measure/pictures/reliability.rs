//! The reliability diagram: what share was right of the answers given with a probability.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::svg::{GRID, INK, SMALL_PX, SOFT, TEXT_PX, colour, drawn, letters, percent, placed};
use crate::measure::reliability::Reliability;

#[expect(clippy::cast_precision_loss, reason = "ten bins")]
pub(super) fn diagram(title: &str, measured: &Reliability) -> anyhow::Result<String> {
    let below = format!(
        "Expected calibration error {}; points at the mean probability, with the number of answers",
        percent(kith::verification::fit::to_places(measured.expected_error, 4))
    );
    drawn((680, 680), title, &below, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin_left(16)
            .margin_right(32)
            .margin_bottom(12)
            .margin_top(8)
            .x_label_area_size(60)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..1.0, 0.0..1.08)?;
        chart
            .configure_mesh()
            .x_desc("probability said")
            .y_desc("share that was right")
            .x_labels(11)
            .y_labels(11)
            .x_label_formatter(&|share| percent(*share))
            .y_label_formatter(&|share| percent(*share))
            .axis_style(SOFT)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(letters(SMALL_PX, INK))
            .axis_desc_style(letters(TEXT_PX, INK))
            .draw()?;
        let width = 1.0 / measured.bins.len().max(1) as f64;
        let filled = || measured.bins.iter().enumerate().filter(|(_, bin)| bin.answers > 0);
        chart.draw_series(filled().map(|(index, bin)| {
            let left = index as f64 * width;
            Rectangle::new(
                [(left + 0.006, 0.0), (left + width - 0.006, bin.right)],
                colour(0).mix(0.6).filled(),
            )
        }))?;
        chart.draw_series([PathElement::new([(0.0, 0.0), (1.0, 1.0)], SOFT.stroke_width(2))])?;
        chart.draw_series(
            filled().map(|(_, bin)| Circle::new((bin.mean_probability, bin.right), 6, colour(1).filled())),
        )?;
        let style = placed(SMALL_PX, INK, HPos::Center, VPos::Bottom);
        chart.draw_series(filled().map(|(index, bin)| {
            let middle = (index as f64 + 0.5) * width;
            // Above the bar, and above the point that marks the mean probability.
            Text::new(bin.answers.to_string(), (middle, bin.right + 0.022), style.clone())
        }))?;
        Ok(())
    })
}
