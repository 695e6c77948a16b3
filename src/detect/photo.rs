//! Faces in photos that people cut to the face.

use image::{RgbImage, imageops};

use super::{DetectError, Detector, Face, FaceBox};

/// The margin that is put around a photo, as a share of its longer side: room for the box of a face that fills it.
const MARGIN: u32 = 3;
/// A face with less room than this to an edge, as a share of its box's height, is looked for again.
const ROOM: f32 = 0.1;

/// As [`Detector::detect`], for a photo rather than a camera's frame. Where a face lies at the photo's edge or none is
/// found, the photo is searched again with a black margin around it, and that is the answer if it has a face.
///
/// MTCNN sees a face that fills its photo cut off in every window, and then guesses landmarks far from eyes and mouth:
/// of 273 photos cut to the face, 24 came out unlike their own person and 5 of them nearer to another one. With the
/// margin it is 4 and none.
///
/// # Errors
/// When the runtime can't run a network.
pub fn detect_in_photo(
    detector: &mut dyn Detector,
    picture: &RgbImage,
    min_face_px: u32,
) -> Result<Vec<Face>, DetectError> {
    let found = detector.detect(picture, min_face_px)?;
    if !found.is_empty()
        && found
            .iter()
            .all(|face| has_room(&face.box_in_frame, picture.dimensions()))
    {
        return Ok(found);
    }
    let margin = picture.width().max(picture.height()).div_ceil(MARGIN);
    let mut framed = RgbImage::new(picture.width() + 2 * margin, picture.height() + 2 * margin);
    imageops::replace(&mut framed, picture, i64::from(margin), i64::from(margin));
    let mut again = detector.detect(&framed, min_face_px)?;
    if again.is_empty() {
        return Ok(found);
    }
    #[expect(clippy::cast_precision_loss, reason = "pixels of a picture")]
    let margin = margin as f32;
    for face in &mut again {
        let b = &mut face.box_in_frame;
        for along in [&mut b.left, &mut b.top, &mut b.right, &mut b.bottom] {
            *along -= margin;
        }
        face.landmarks = face.landmarks.map(|point| point.map(|along| along - margin));
    }
    Ok(again)
}

fn has_room(face: &FaceBox, (width, height): (u32, u32)) -> bool {
    let room = ROOM * face.height();
    #[expect(clippy::cast_precision_loss, reason = "pixels of a picture")]
    let (width, height) = (width as f32, height as f32);
    face.left >= room && face.top >= room && face.right + room <= width && face.bottom + room <= height
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Finds the white rectangle, unless it touches the edge of what it is shown.
    struct WhiteInside(usize);

    impl Detector for WhiteInside {
        fn detect(&mut self, picture: &RgbImage, _: u32) -> Result<Vec<Face>, DetectError> {
            self.0 += 1;
            let white = picture.enumerate_pixels().filter(|(.., pixel)| pixel[0] == 255);
            let (mut left, mut top, mut right, mut bottom) = (u32::MAX, u32::MAX, 0, 0);
            for (x, y, _) in white {
                (left, top, right, bottom) = (left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1));
            }
            let [left, top, right, bottom] = [left, top, right, bottom].map(|along| along as f32);
            let face = Face {
                box_in_frame: FaceBox {
                    left,
                    top,
                    right,
                    bottom,
                },
                probability: 1.0,
                landmarks: [[left, top]; 5],
            };
            Ok(if left > 0.0 { vec![face] } else { Vec::new() })
        }

        fn take_session_time(&mut self) -> Duration {
            Duration::ZERO
        }
    }

    #[test]
    fn a_face_at_the_edge_is_looked_for_with_a_margin_and_found_in_the_photo() {
        for (left, searches) in [(0, 2), (2, 2), (30, 1)] {
            let picture = RgbImage::from_fn(100, 90, |x, y| {
                let is_face = (left..left + 40).contains(&x) && (20..70).contains(&y);
                image::Rgb([if is_face { 255 } else { 0 }; 3])
            });
            let mut detector = WhiteInside(0);
            let found = detect_in_photo(&mut detector, &picture, 20).unwrap();
            let b = found[0].box_in_frame;
            assert_eq!(
                [b.left, b.top, b.right, b.bottom],
                [left as f32, 20.0, left as f32 + 40.0, 70.0]
            );
            assert_eq!(found[0].landmarks, [[left as f32, 20.0]; 5]);
            assert_eq!(detector.0, searches, "{left}");
        }
    }
}
