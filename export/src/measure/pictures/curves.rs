//! The curves of a training run.

use plotters::prelude::*;

use super::svg::{Area, GRID, INK, SMALL_PX, SOFT, TEXT_PX, colour, drawn, letters, percent};
use crate::measure::log::LogLine;

/// A named line of values by epoch.
type Series<'a> = (&'a str, usize, Vec<(f64, f64)>);

/// Draws loss above and accuracy and learning rate below, by epoch, as SVG. Panels without values are left out.
///
/// # Errors
/// When the log has no epoch.
pub fn training_curves(title: &str, log: &[LogLine]) -> anyhow::Result<String> {
    let (Some(first), Some(last)) = (log.first(), log.last()) else {
        anyhow::bail!("the log has no epoch yet, so there are no curves");
    };
    let epochs = f64::from(first.epoch)..f64::from(last.epoch.max(first.epoch + 1));
    let series = |value: fn(&LogLine) -> Option<f64>| -> Vec<(f64, f64)> {
        log.iter()
            .filter_map(|line| value(line).map(|value| (f64::from(line.epoch), value)))
            .filter(|(_, value)| value.is_finite())
            .collect()
    };
    let losses: Vec<Series<'_>> = vec![
        ("training", 0, series(|line| Some(line.loss))),
        ("held-out", 1, series(|line| line.val_loss)),
    ];
    let accuracies: Vec<Series<'_>> = vec![
        ("training", 0, series(|line| line.accuracy)),
        ("held-out", 1, series(|line| line.val_accuracy)),
    ];
    let rates: Vec<Series<'_>> = vec![("learning rate", 2, series(|line| line.learning_rate))];
    let panels: Vec<(&str, Vec<Series<'_>>, Kind)> = [
        ("loss", losses, Kind::Loss),
        ("accuracy", accuracies, Kind::Share),
        ("learning rate", rates, Kind::Rate),
    ]
    .into_iter()
    .map(|(name, series, kind)| {
        let drawn: Vec<Series<'_>> = series.into_iter().filter(|(.., points)| !points.is_empty()).collect();
        (name, drawn, kind)
    })
    .filter(|(_, series, _)| !series.is_empty())
    .collect();
    // The best epoch is what is kept: by held-out accuracy where it was measured.
    let best = log
        .iter()
        .filter_map(|line| line.val_accuracy.map(|accuracy| (line.epoch, accuracy)))
        .reduce(|best, next| if next.1 > best.1 { next } else { best });
    let below = best.map_or_else(
        || format!("{} epochs", log.len()),
        |(epoch, accuracy)| {
            let accuracy = percent(kith::verification::fit::to_places(accuracy, 4));
            format!(
                "{} epochs; best on held-out faces: {accuracy} after epoch {epoch}",
                log.len()
            )
        },
    );
    let heights: Vec<i32> = panels
        .iter()
        .map(|(.., kind)| if matches!(kind, Kind::Rate) { 170 } else { 260 })
        .collect();
    let height = u32::try_from(heights.iter().sum::<i32>() + 110).unwrap_or(800);
    drawn((860, height), title, &below, |area| {
        let mut rest = area.clone();
        for (index, ((name, series, kind), height)) in panels.iter().zip(heights).enumerate() {
            let is_last = index + 1 == panels.len();
            let (panel, below) = rest.split_vertically(if is_last { height + 36 } else { height });
            rest = below;
            draw_panel(&panel, name, series, kind, epochs.clone(), is_last)?;
        }
        Ok(())
    })
}

#[derive(Clone, Copy)]
enum Kind {
    /// From zero up.
    Loss,
    /// 0 to 1.
    Share,
    /// By its logarithm.
    Rate,
}

fn draw_panel(
    area: &Area<'_>,
    name: &str,
    series: &[Series<'_>],
    kind: &Kind,
    epochs: std::ops::Range<f64>,
    is_last: bool,
) -> anyhow::Result<()> {
    let values = || {
        series
            .iter()
            .flat_map(|(.., points)| points.iter().map(|(_, value)| *value))
    };
    let (lowest, highest) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    let mut builder = ChartBuilder::on(area);
    builder
        .margin_left(16)
        .margin_right(32)
        .margin_top(10)
        .margin_bottom(if is_last { 10 } else { 0 })
        .x_label_area_size(if is_last { 56 } else { 26 })
        .y_label_area_size(90);
    // plotters' log axis is another type, so the rate is drawn as its own logarithm, with its labels turned back.
    let (range, change): (std::ops::Range<f64>, fn(f64) -> f64) = match kind {
        Kind::Loss => (0.0_f64.min(lowest)..highest.max(1e-9) * 1.06, |value| value),
        Kind::Share => (
            [0.9, 0.5, 0.0].into_iter().find(|from| lowest > *from).unwrap_or(0.0)..1.0,
            |value| value,
        ),
        Kind::Rate => (
            lowest.max(1e-12).log10().floor()
                ..highest
                    .max(1e-12)
                    .log10()
                    .ceil()
                    .max(lowest.max(1e-12).log10().floor() + 1.0),
            |value| value.max(1e-12).log10(),
        ),
    };
    let mut chart = builder.build_cartesian_2d(epochs, range)?;
    let label = |value: &f64| match kind {
        Kind::Loss => format!("{}", kith::verification::fit::to_places(*value, 4)),
        Kind::Share => percent(*value),
        Kind::Rate => format!("{:.0e}", 10_f64.powf(*value)),
    };
    let mut mesh = chart.configure_mesh();
    mesh.y_desc(name)
        .x_label_formatter(&|epoch| format!("{epoch:.0}"))
        .y_label_formatter(&label)
        .y_labels(if matches!(kind, Kind::Rate) { 4 } else { 6 })
        .axis_style(SOFT)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(letters(SMALL_PX, INK))
        .axis_desc_style(letters(TEXT_PX, INK));
    if is_last {
        mesh.x_desc("epoch");
    }
    mesh.draw()?;
    for (name, index, points) in series {
        let ink = colour(*index);
        let line: Vec<(f64, f64)> = points.iter().map(|(epoch, value)| (*epoch, change(*value))).collect();
        if let [only] = line[..] {
            chart.draw_series([Circle::new(only, 5, ink.filled())])?;
        }
        chart
            .draw_series(LineSeries::new(line, ink.stroke_width(3)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], ink.stroke_width(3)));
    }
    if series.len() > 1 {
        let corner = if matches!(kind, Kind::Share) {
            SeriesLabelPosition::LowerRight
        } else {
            SeriesLabelPosition::UpperRight
        };
        chart
            .configure_series_labels()
            .position(corner)
            .background_style(WHITE)
            .border_style(GRID)
            .legend_area_size(30)
            .margin(10)
            .label_font(letters(SMALL_PX, INK))
            .draw()?;
    }
    Ok(())
}
