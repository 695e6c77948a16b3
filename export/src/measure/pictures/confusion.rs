//! The confusion matrix: a row for each person, a column for each name given.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::svg::{INK, SMALL_PX, SOFT, TEXT_PX, drawn, letters, percent, placed, width_px};
use crate::measure::closed_set::ClosedSet;

/// Darkest ground of a cell; the right ones are blue, the wrong ones orange.
const RIGHT: (f64, f64, f64) = (0.0, 114.0, 178.0);
const WRONG: (f64, f64, f64) = (213.0, 94.0, 0.0);
/// Beyond this many people the counts and names have no room.
const LABELLED: usize = 40;

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "pixels of a picture and counts of photos"
)]
pub(super) fn matrix(title: &str, people: &[String], figures: &ClosedSet) -> anyhow::Result<String> {
    let count = people.len().max(1) as i32;
    let longest = people
        .iter()
        .map(|name| width_px(name, TEXT_PX))
        .max()
        .unwrap_or(0)
        .clamp(60, 260);
    let cell = (560 / count).clamp(8, 96);
    let side = cell * count;
    let with_text = people.len() <= LABELLED;
    // plotters turns only by right angles, so long names go down; short ones across.
    let across = people.iter().all(|name| width_px(name, SMALL_PX) < cell - 4);
    let below_px = match (with_text, across) {
        (false, _) => 40,
        (true, true) => 60,
        (true, false) => longest + 40,
    };
    let (left, top) = (if with_text { longest + 70 } else { 60 }, 40);
    let size = ((left + side + 60).max(620) as u32, (74 + top + side + below_px) as u32);
    let mut below = format!(
        "{} of {} held-out photos named rightly ({})",
        figures.right,
        figures.photos,
        percent(kith::verification::fit::to_places(figures.accuracy_by_photo.value, 4))
    );
    if !with_text {
        below += &format!("; {} people in order of their names", people.len());
    }
    drawn(size, title, &below, |area| {
        area.draw_text(
            "named",
            &placed(TEXT_PX, SOFT, HPos::Center, VPos::Bottom),
            (left + side / 2, top - 8),
        )?;
        let turned = placed(TEXT_PX, SOFT, HPos::Center, VPos::Top).transform(FontTransform::Rotate270);
        area.draw_text("person in the photo", &turned, (14, top + side / 2))?;
        for (row, (name, counts)) in people.iter().zip(&figures.confusion).enumerate() {
            let y = top + row as i32 * cell;
            let of_person: usize = counts.iter().sum();
            for (column, photos) in counts.iter().enumerate() {
                let x = left + column as i32 * cell;
                let share = *photos as f64 / of_person.max(1) as f64;
                // A single wrong photo must be seen, so shades begin well above white.
                let strength = if *photos == 0 { 0.03 } else { 0.22 + 0.78 * share };
                let dark = if row == column { RIGHT } else { WRONG };
                let shade = |channel: f64| (255.0 - (255.0 - channel) * strength).round() as u8;
                let ground = if *photos == 0 {
                    RGBColor(245, 246, 248)
                } else {
                    RGBColor(shade(dark.0), shade(dark.1), shade(dark.2))
                };
                area.draw(&Rectangle::new(
                    [(x + 1, y + 1), (x + cell - 1, y + cell - 1)],
                    ground.filled(),
                ))?;
                if with_text && *photos > 0 {
                    // White letters need a dark ground: the blue is darker than the orange.
                    let ink = if strength > if row == column { 0.7 } else { 0.9 } {
                        WHITE
                    } else {
                        INK
                    };
                    let px = (cell as u32 * 45 / 100).clamp(9, 22);
                    let style = placed(px, ink, HPos::Center, VPos::Center);
                    area.draw_text(&photos.to_string(), &style, (x + cell / 2, y + cell / 2))?;
                }
            }
            if with_text {
                let px = (cell as u32 * 2 / 3).clamp(9, TEXT_PX);
                let style = placed(px, INK, HPos::Right, VPos::Center);
                area.draw_text(name, &style, (left - 10, y + cell / 2))?;
            }
        }
        if with_text {
            for (column, name) in people.iter().enumerate() {
                let x = left + column as i32 * cell + cell / 2;
                let y = top + side + 10;
                if across {
                    area.draw_text(name, &placed(SMALL_PX, INK, HPos::Center, VPos::Top), (x, y))?;
                } else {
                    let px = (cell as u32 * 2 / 3).clamp(9, TEXT_PX);
                    let style = letters(px, INK)
                        .pos(plotters::style::text_anchor::Pos::new(HPos::Right, VPos::Center))
                        .transform(FontTransform::Rotate270);
                    area.draw_text(name, &style, (x, y))?;
                }
            }
        }
        Ok(())
    })
}
