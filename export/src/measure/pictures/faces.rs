//! The map of embeddings with the faces themselves as points.

use image::imageops::{FilterType, overlay, resize};
use image::{Rgb, RgbImage};
use kith::draw::Pen;

use super::map::MapPoint;
use super::svg::{COLOURS, colour};

/// Width and height of the map, in pixels.
const SIDE_PX: u32 = 1600;
const LEGEND_PX: u32 = 380;
const HEAD_PX: u32 = 110;
const GROUND: Rgb<u8> = Rgb([255, 255, 255]);
const INK: Rgb<u8> = Rgb([34, 40, 49]);
const SOFT: Rgb<u8> = Rgb([96, 104, 116]);
/// Of people beyond the palette, whose colours could not be told apart.
const FURTHER: Rgb<u8> = Rgb([190, 194, 200]);

/// Draws each face's crop near its place, framed in its person's colour; a marked one has a wide black frame. Faces
/// don't cover each other: each takes the free cell of a grid nearest to its place.
///
/// # Errors
/// When there are not as many crops as points, or the built-in font can't be read.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "pixels of a picture and cells of a grid"
)]
pub fn faces_map(title: &str, points: &[MapPoint], crops: &[RgbImage], people: &[String]) -> anyhow::Result<RgbImage> {
    anyhow::ensure!(
        points.len() == crops.len(),
        "there are {} places and {} faces; one place for each face is needed",
        points.len(),
        crops.len()
    );
    let pen = Pen::new()?;
    let mut picture = RgbImage::from_pixel(SIDE_PX + LEGEND_PX, SIDE_PX + HEAD_PX, GROUND);
    pen.write(&mut picture, title, (30, 20), 38.0, INK);
    let marked = points.iter().filter(|point| point.is_marked).count();
    let mut below = format!(
        "t-SNE of {} faces: near means alike; the axes mean nothing",
        points.len()
    );
    if marked > 0 {
        below += &format!("; {marked} in black: nearest neighbour is another person");
    }
    pen.write(&mut picture, &below, (30, 66), 24.0, SOFT);
    // Four cells for each face leave room for groups to show.
    let cells = ((4.0 * points.len() as f32).sqrt().ceil() as usize).clamp(12, 160);
    let cell_px = (SIDE_PX - 40) / cells as u32;
    let places = spread(points, cells);
    for ((point, crop), (column, row)) in points.iter().zip(crops).zip(places) {
        let (left, top) = (20 + column as u32 * cell_px, HEAD_PX + row as u32 * cell_px);
        let frame_px = if point.is_marked { cell_px / 8 } else { cell_px / 14 }.max(1);
        let ink = if point.is_marked { INK } else { ink_of(point.person) };
        let side = cell_px.saturating_sub(1).max(1);
        let frame = RgbImage::from_pixel(side, side, ink);
        overlay(&mut picture, &frame, i64::from(left), i64::from(top));
        let inside = side.saturating_sub(2 * frame_px).max(1);
        let face = resize(crop, inside, inside, FilterType::Triangle);
        overlay(
            &mut picture,
            &face,
            i64::from(left + frame_px),
            i64::from(top + frame_px),
        );
    }
    let left = i64::from(SIDE_PX + 10);
    for (index, name) in people.iter().take(COLOURS.len()).enumerate() {
        let y = i64::from(HEAD_PX) + 10 + 44 * index as i64;
        overlay(&mut picture, &RgbImage::from_pixel(26, 26, ink_of(index)), left, y);
        pen.write(&mut picture, name, (left as i32 + 40, y as i32), 26.0, INK);
    }
    if people.len() > COLOURS.len() {
        let y = i64::from(HEAD_PX) + 10 + 44 * COLOURS.len() as i64;
        overlay(&mut picture, &RgbImage::from_pixel(26, 26, FURTHER), left, y);
        let text = format!("{} more", people.len() - COLOURS.len());
        pen.write(&mut picture, &text, (left as i32 + 40, y as i32), 26.0, INK);
    }
    Ok(picture)
}

fn ink_of(person: usize) -> Rgb<u8> {
    if person < COLOURS.len() {
        let colour = colour(person);
        Rgb([colour.0, colour.1, colour.2])
    } else {
        FURTHER
    }
}

/// Column and row of a cell for each point, none twice.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "cells of a grid"
)]
fn spread(points: &[MapPoint], cells: usize) -> Vec<(usize, usize)> {
    let mut is_taken = vec![false; cells * cells];
    points
        .iter()
        .map(|point| {
            let at = |share: f32| share.clamp(0.0, 1.0) * (cells - 1) as f32;
            let (x, y) = (at(point.place[0]), at(1.0 - point.place[1]));
            let squared = |cell: usize| ((cell % cells) as f32 - x).powi(2) + ((cell / cells) as f32 - y).powi(2);
            // With four cells a point there is always a free one; a grid at its largest may be full.
            let free = (0..cells * cells)
                .filter(|cell| !is_taken.get(*cell).copied().unwrap_or(true))
                .min_by(|a, b| squared(*a).total_cmp(&squared(*b)))
                .unwrap_or(x.round() as usize + cells * y.round() as usize);
            if let Some(taken) = is_taken.get_mut(free) {
                *taken = true;
            }
            (free % cells, free / cells)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_in_one_place_lie_side_by_side() {
        let point = MapPoint {
            place: [0.5, 0.5],
            person: 0,
            is_marked: false,
        };
        let mut places = spread(&[point; 40], 13);
        assert!(
            places.iter().all(|(x, y)| x.abs_diff(6) <= 4 && y.abs_diff(6) <= 4),
            "{places:?}"
        );
        places.sort_unstable();
        places.dedup();
        assert_eq!(places.len(), 40);
    }

    #[test]
    fn each_face_shows_and_a_missing_crop_is_said() {
        let points: Vec<MapPoint> = (0..9_u8)
            .map(|index| MapPoint {
                place: [f32::from(index) / 8.0, 0.5],
                person: usize::from(index),
                is_marked: index == 0,
            })
            .collect();
        let pink = Rgb([250, 3, 240]);
        let crops = vec![RgbImage::from_pixel(112, 112, pink); 9];
        let people: Vec<String> = (0..9).map(|index| format!("p{index}")).collect();
        let picture = faces_map("t", &points, &crops, &people).unwrap();
        let cell = ((SIDE_PX - 40) / 12) as usize;
        let shown = picture.pixels().filter(|pixel| **pixel == pink).count();
        assert!(shown > 9 * cell * cell / 2 && shown < 9 * cell * cell, "{shown}");
        assert!(picture.pixels().any(|pixel| *pixel == ink_of(1)) && picture.pixels().any(|pixel| *pixel == FURTHER));
        assert!(faces_map("t", &points, &crops[1..], &people).is_err());
    }
}
