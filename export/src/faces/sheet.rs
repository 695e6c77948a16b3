//! A contact sheet of what an audit found, for the eye.

use image::{Rgb, RgbImage, imageops};
use kith::align::Cut;
use kith::draw::Pen;

use super::{AlignedFolder, Audit};

/// Side of a crop on the sheet, in pixels.
const SIDE_PX: u32 = 112;
const GAP_PX: u32 = 6;
const TEXT_PX: f32 = 14.0;
/// Height of the line of text above each row.
const LINE_PX: u32 = 20;
/// Photos to compare a suspect with, of each of the two people.
const COMPARED: usize = 3;
/// A longer sheet nobody reads, and few programs open.
const MOST_ROWS: usize = 150;
const GROUND: Rgb<u8> = Rgb([24, 27, 33]);
const INK: Rgb<u8> = Rgb([235, 238, 242]);

/// A row for each suspect (the photo, then the photos nearest to it of its own person, then of the other), then one for
/// each pair of doubles. `embeddings` as [`super::audit`] had them.
///
/// # Errors
/// When a crop can't be read.
pub fn contact_sheet(folder: &AlignedFolder, embeddings: &[Vec<f32>], audit: &Audit) -> anyhow::Result<RgbImage> {
    let mut rows: Vec<(String, Vec<usize>)> = Vec::new();
    for suspect in &audit.suspects {
        let own = suspect.file.split('/').next().unwrap_or_default();
        let text = format!(
            "{}: {:.2} to its own, {:.2} to {}. Then its own person's nearest, then the other's",
            suspect.file,
            suspect.own_cosine.unwrap_or(f32::NAN),
            suspect.nearest_cosine,
            suspect.nearest_person
        );
        let mut shown = vec![suspect.face];
        let own = folder.faces.get(suspect.face).map_or(own, |face| &face.person);
        for person in [own, &suspect.nearest_person] {
            shown.extend(nearest(folder, embeddings, suspect.face, person));
        }
        rows.push((text, shown));
    }
    for double in &audit.doubles {
        let [a, b] = &double.files;
        let text = format!("{a} and {b}: {}, cosine {:.2}", double.why, double.cosine);
        rows.push((text, double.faces.to_vec()));
    }
    rows.truncate(MOST_ROWS);
    let row_px = LINE_PX + SIDE_PX + GAP_PX;
    let columns = u32::try_from(1 + 2 * COMPARED)?;
    let width = columns * (SIDE_PX + GAP_PX) + 3 * GAP_PX;
    let mut sheet = RgbImage::from_pixel(width, u32::try_from(rows.len())?.max(1) * row_px + GAP_PX, GROUND);
    let pen = Pen::new()?;
    for (row, (text, shown)) in (0..).zip(rows) {
        let top = GAP_PX + row * row_px;
        pen.write(&mut sheet, &text, (pixels(GAP_PX), pixels(top)), TEXT_PX, INK);
        for (column, face) in (0..).zip(shown) {
            let Some(face) = folder.faces.get(face) else { continue };
            let crop = folder.cut(face, Cut::FivePoint112)?;
            let group = if column == 0 {
                0
            } else {
                1 + (column - 1) / u32::try_from(COMPARED)?
            };
            let left = GAP_PX + column * (SIDE_PX + GAP_PX) + group * GAP_PX;
            imageops::replace(&mut sheet, &crop, i64::from(left), i64::from(top + LINE_PX));
        }
    }
    Ok(sheet)
}

/// The photos of `person` nearest to `face`, itself left out.
fn nearest(folder: &AlignedFolder, embeddings: &[Vec<f32>], face: usize, person: &str) -> Vec<usize> {
    let Some(embedding) = embeddings.get(face) else {
        return Vec::new();
    };
    let mut near: Vec<(f32, usize)> = folder
        .faces
        .iter()
        .zip(embeddings)
        .enumerate()
        .filter(|(other, (shot, _))| *other != face && shot.person == person)
        .map(|(other, (_, vector))| (vector.iter().zip(embedding).map(|(a, b)| a * b).sum(), other))
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(COMPARED).map(|(_, other)| other).collect()
}

/// A place on the sheet, as the pen wants it.
fn pixels(place: u32) -> i32 {
    i32::try_from(place).unwrap_or(i32::MAX)
}
