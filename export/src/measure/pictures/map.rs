//! The map of embeddings: a point for each face, coloured by person.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::svg::{COLOURS, GRID, INK, SMALL_PX, colour, drawn, placed, width_px};

/// Side of the square that the points lie in.
const SIDE_PX: i32 = 720;
/// Shapes that tell people of one colour apart.
const SHAPES: usize = 3;
/// More names than this have no room beside the map, and their colours could not be told apart either.
const NAMED: usize = COLOURS.len() * SHAPES;

/// A face on the map.
#[derive(Debug, Clone, Copy)]
pub struct MapPoint {
    /// In 0 to 1 both ways, as [`super::plane`] gives it.
    pub place: [f32; 2],
    /// Index of the person.
    pub person: usize,
    /// Whether to mark it with a ring: named wrongly, or disputed.
    pub is_marked: bool,
}

/// Draws the map as SVG with a legend of names; people beyond 21 are grey and share one entry.
///
/// # Errors
/// When the drawing fails.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "pixels of a picture"
)]
pub fn embedding_map(title: &str, points: &[MapPoint], people: &[String]) -> anyhow::Result<String> {
    let marked = points.iter().filter(|point| point.is_marked).count();
    let below = match marked {
        0 => format!(
            "t-SNE of {} faces: near means alike; the axes mean nothing",
            points.len()
        ),
        _ => format!(
            "t-SNE of {} faces: near means alike; the axes mean nothing; {marked} ringed: nearest neighbour is another person",
            points.len()
        ),
    };
    let names: Vec<&str> = people.iter().take(NAMED).map(String::as_str).collect();
    let widest = names
        .iter()
        .map(|name| width_px(name, SMALL_PX + 1))
        .max()
        .unwrap_or(0)
        .clamp(90, 300);
    let size = ((SIDE_PX + 60 + widest + 50) as u32, (SIDE_PX + 74 + 30) as u32);
    drawn(size, title, &below, |area| {
        let frame = [(20, 8), (40 + SIDE_PX, 18 + SIDE_PX)];
        area.draw(&Rectangle::new(frame, GRID.stroke_width(1)))?;
        let at = |[x, y]: [f32; 2]| {
            let inside = (SIDE_PX - 24) as f32;
            (32 + (x * inside) as i32, 16 + ((1.0 - y) * inside) as i32)
        };
        for point in points {
            draw_point(area, at(point.place), point.person)?;
        }
        for point in points.iter().filter(|point| point.is_marked) {
            area.draw(&Circle::new(at(point.place), 11, INK.stroke_width(2)))?;
        }
        let left = SIDE_PX + 64;
        let style = placed(SMALL_PX + 1, INK, HPos::Left, VPos::Center);
        for (index, name) in names.iter().enumerate() {
            let y = 24 + 28 * index as i32;
            draw_point(area, (left, y), index)?;
            area.draw_text(name, &style, (left + 16, y))?;
        }
        if people.len() > NAMED {
            let y = 24 + 28 * NAMED as i32;
            draw_point(area, (left, y), NAMED)?;
            area.draw_text(&format!("{} more", people.len() - NAMED), &style, (left + 16, y))?;
        }
        Ok(())
    })
}

/// A disc, a square or a triangle with a white rim, so that points on each other can still be counted.
fn draw_point(area: &super::svg::Area<'_>, (x, y): (i32, i32), person: usize) -> anyhow::Result<()> {
    let ink = if person < NAMED {
        colour(person)
    } else {
        RGBColor(190, 194, 200)
    };
    match if person < NAMED { person / COLOURS.len() } else { 0 } {
        0 => {
            area.draw(&Circle::new((x, y), 7, WHITE.filled()))?;
            area.draw(&Circle::new((x, y), 6, ink.filled()))?;
        }
        1 => {
            area.draw(&Rectangle::new([(x - 6, y - 6), (x + 6, y + 6)], WHITE.filled()))?;
            area.draw(&Rectangle::new([(x - 5, y - 5), (x + 5, y + 5)], ink.filled()))?;
        }
        _ => {
            area.draw(&TriangleMarker::new((x, y), 8, WHITE.filled()))?;
            area.draw(&TriangleMarker::new((x, y), 7, ink.filled()))?;
        }
    }
    Ok(())
}
