//! How good a shot of a face is for recognising it. Enrolment refuses by it, tracks choose their shots by it.
//! `docs/design/enrolment.md` has the measurements behind the constants.

use std::ops::Range;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::align::{Alignment, Cut, FIVE_POINT_112_SIDE_PX};
use crate::detect::{Face, Landmarks};

/// How far the tip of the nose stands out from the line between the eyes, in eye distances; 35 mm to 63 mm for an
/// average adult head (the measures of NIOSH's headforms: Zhuang and Bradtmiller, J Occup Environ Hyg 2, 2005).
const NOSE_DEPTH_EYE_DISTANCES: f32 = 0.55;

/// From this height on a face fills the 112 px of an aligned crop, and more pixels add nothing.
const FULL_SIZE_PX: f32 = 112.0;
/// Sharpness of an average photo of a press photographer; more adds nothing.
const FULL_SHARPNESS: f32 = 0.6;
/// A face turned this far shows one eye.
const PROFILE_DEGREES: f32 = 90.0;

/// The part of an aligned 112x112 crop that is face whatever the hair, from eyebrows to chin: columns and rows.
const FACE_COLUMNS: Range<usize> = 24..88;
const FACE_ROWS: Range<usize> = 32..104;

/// What makes a shot of a face good or bad.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Height of the face's box in the picture, in pixels.
    pub size_px: f32,
    /// Share of the face's fine detail that a blur would take away, 0 (there is none to take) to 1; see [`sharpness`].
    pub sharpness: f32,
    /// How far the face is turned sideways, -90 to 90; 0 looks at the camera, positive to the viewer's right.
    pub yaw_degrees: f32,
    /// The detector's probability, 0 to 1.
    pub probability: f32,
}

/// A way in which a shot of a face can be poor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It has few pixels.
    Small,
    /// It is out of focus, moved, or was enlarged.
    Blurred,
    /// It looks aside.
    TurnedAway,
    /// The detector doubts that it is a face.
    Doubtful,
}

impl Quality {
    /// The quality of `face`, whose 112x112 crop by five landmarks is `aligned`.
    pub fn of(aligned: &RgbImage, face: &Face) -> Self {
        Self {
            size_px: face.box_in_frame.height(),
            sharpness: sharpness(aligned),
            yaw_degrees: yaw_degrees(&face.landmarks),
            probability: face.probability,
        }
    }

    /// The quality of `face` in `picture`, and the face brought into the form that an embedder takes. The quality is always
    /// that of the 112x112 crop, which its limits were measured with. `None` when the face can't be aligned.
    pub fn with_aligned(picture: &RgbImage, face: &Face, alignment: Alignment) -> Option<(Self, RgbImage)> {
        let upright = Cut::FivePoint112.cut(picture, face)?;
        let quality = Self::of(&upright, face);
        let aligned = match alignment {
            Alignment::FivePoint112 => upright,
            _ if alignment.cut() == Cut::FivePoint112 => alignment.finish(&upright),
            _ => alignment.align(picture, face)?,
        };
        Some((quality, aligned))
    }

    /// One number to choose shots by, 0 to 1: each part's share of what is enough, multiplied, so that nothing makes up
    /// for a shot that is useless in one way.
    pub fn score(&self) -> f32 {
        self.parts().map(|(_, share)| share).iter().product()
    }

    /// What lowers the score most.
    pub fn weakest(&self) -> Flaw {
        let [first, rest @ ..] = self.parts();
        let weaker = |a: (Flaw, f32), b: (Flaw, f32)| if b.1 < a.1 { b } else { a };
        rest.into_iter().fold(first, weaker).0
    }

    /// Each way in which a shot can be poor, with the share of what is enough that it has, 0 to 1.
    fn parts(&self) -> [(Flaw, f32); 4] {
        let enough = |value: f32, full: f32| (value / full).clamp(0.0, 1.0);
        let turned = enough(self.yaw_degrees.abs(), PROFILE_DEGREES);
        [
            (Flaw::Small, enough(self.size_px, FULL_SIZE_PX)),
            (Flaw::Blurred, enough(self.sharpness, FULL_SHARPNESS)),
            (Flaw::TurnedAway, 1.0 - turned * turned),
            (Flaw::Doubtful, self.probability.clamp(0.0, 1.0)),
        ]
    }
}

/// Share of the differences between neighbouring pixels that a nine pixel wide blur would take away, in the direction
/// where it takes less: much in a sharp picture, little in one that is blurred already or was enlarged from few pixels.
/// 0 to 1; about 0.65 in sharp photos. `aligned` is a 112x112 crop, so the picture's own size plays no part beyond the
/// detail that it has.
///
/// The measure of Crete, Dolmiere, Ladret and Nicolas, "The blur effect: perception and estimation with a new
/// no-reference perceptual blur metric", SPIE 6492, 2007, counted from the other end. Sums of absolute differences make
/// it robust where a few strong edges (a black border, glasses) would carry a variance.
pub fn sharpness(aligned: &RgbImage) -> f32 {
    const SIDE: usize = FIVE_POINT_112_SIDE_PX as usize;
    if aligned.dimensions() != (FIVE_POINT_112_SIDE_PX, FIVE_POINT_112_SIDE_PX) {
        return 0.0;
    }
    // Rec. 601 luma in 256ths.
    let luma: Vec<i32> = aligned
        .pixels()
        .map(|pixel| {
            let [r, g, b] = pixel.0.map(i32::from);
            (77 * r + 150 * g + 29 * b) >> 8
        })
        .collect();
    let taken = |step: usize| {
        let (mut all, mut lost) = (0, 0);
        for y in FACE_ROWS {
            for x in FACE_COLUMNS {
                let at = y * SIDE + x;
                // Nine times the difference to the next pixel, before and after the blur: neighbouring windows of nine
                // differ in their first and last pixel only.
                let before = 9 * (luma[at + step] - luma[at]).abs();
                let after = (luma[at + 5 * step] - luma[at - 4 * step]).abs();
                all += before;
                lost += (before - after).max(0);
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more than f32's precision")]
        if all > 0 { lost as f32 / all as f32 } else { 0.0 }
    };
    taken(1).min(taken(SIDE))
}

/// How far the face is turned sideways, in degrees, from where the nose lies between the eyes.
pub fn yaw_degrees(landmarks: &Landmarks) -> f32 {
    let [left_eye, right_eye, nose, ..] = *landmarks;
    let (across_x, across_y) = (right_eye[0] - left_eye[0], right_eye[1] - left_eye[1]);
    let eye_distance_squared = across_x * across_x + across_y * across_y;
    if eye_distance_squared <= 0.0 {
        return PROFILE_DEGREES;
    }
    let from_middle_x = nose[0] - f32::midpoint(left_eye[0], right_eye[0]);
    let from_middle_y = nose[1] - f32::midpoint(left_eye[1], right_eye[1]);
    // Along the line of the eyes, in eye distances, so that neither roll nor size matters.
    let aside = (from_middle_x * across_x + from_middle_y * across_y) / eye_distance_squared;
    (aside / NOSE_DEPTH_EYE_DISTANCES).atan().to_degrees()
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use image::imageops::blur;

    use super::*;
    use crate::detect::FaceBox;

    /// Fine detail without a direction, the same on every run.
    fn pattern() -> RgbImage {
        RgbImage::from_fn(112, 112, |x, y| {
            let mixed = (x.wrapping_mul(0x9e37_79b9) ^ y.wrapping_mul(0x85eb_ca6b)).wrapping_mul(0xc2b2_ae35);
            Rgb([(mixed >> 24) as u8; 3])
        })
    }

    const FRONTAL: Landmarks = [[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]];

    #[test]
    fn blur_lowers_sharpness_step_by_step() {
        let sharp = pattern();
        let steps: Vec<f32> = [0.7, 1.0, 2.0, 4.0]
            .iter()
            .map(|sigma| sharpness(&blur(&sharp, *sigma)))
            .collect();
        assert!(sharpness(&sharp) > 0.6, "{}", sharpness(&sharp));
        assert!(steps.is_sorted_by(|a, b| a > b), "{steps:?}");
        assert!(steps[3] < 0.5 * sharpness(&sharp), "{steps:?}");
    }

    #[test]
    fn motion_in_one_direction_is_a_blur_too() {
        let sharp = pattern();
        let moved = RgbImage::from_fn(112, 112, |x, y| {
            let sum: u32 = (0..9).map(|i| u32::from(sharp.get_pixel((x + i).min(111), y)[0])).sum();
            Rgb([(sum / 9) as u8; 3])
        });
        let (moved, sharp) = (sharpness(&moved), sharpness(&sharp));
        assert!(moved < 0.85 * sharp, "{moved} of {sharp}");
    }

    #[test]
    fn a_flat_crop_has_no_detail() {
        assert!(sharpness(&RgbImage::from_pixel(112, 112, Rgb([90; 3]))).abs() < f32::EPSILON);
    }

    #[test]
    fn yaw_follows_the_nose_whatever_the_roll_and_size() {
        assert!(yaw_degrees(&FRONTAL).abs() < 2.0, "{}", yaw_degrees(&FRONTAL));
        let mut turned = FRONTAL;
        turned[2][0] += 15.0;
        let yaw = yaw_degrees(&turned);
        assert!((30.0..50.0).contains(&yaw), "{yaw}");
        let rolled = turned.map(|[x, y]| [3.0 * (0.8 * x - 0.6 * y), 3.0 * (0.6 * x + 0.8 * y)]);
        assert!((yaw_degrees(&rolled) - yaw).abs() < 0.01);
        let mirrored = turned.map(|[x, y]| [-x, y]);
        let mirrored = [mirrored[1], mirrored[0], mirrored[2], mirrored[4], mirrored[3]];
        assert!((yaw_degrees(&mirrored) + yaw).abs() < 0.01);
        assert!((yaw_degrees(&[[5.0; 2]; 5]) - PROFILE_DEGREES).abs() < f32::EPSILON);
    }

    #[test]
    fn nothing_makes_up_for_a_useless_shot() {
        let face = Face {
            box_in_frame: FaceBox {
                left: 0.0,
                top: 0.0,
                right: 100.0,
                bottom: 130.0,
            },
            probability: 1.0,
            landmarks: FRONTAL,
        };
        let good = Quality::of(&pattern(), &face);
        assert!(good.score() > 0.95, "{good:?}");
        let small = Quality { size_px: 11.2, ..good };
        let blurred = Quality {
            sharpness: 0.06,
            ..good
        };
        let turned_away = Quality {
            yaw_degrees: -88.0,
            ..good
        };
        let doubtful = Quality {
            probability: 0.1,
            ..good
        };
        for (bad, flaw) in [
            (small, Flaw::Small),
            (blurred, Flaw::Blurred),
            (turned_away, Flaw::TurnedAway),
            (doubtful, Flaw::Doubtful),
        ] {
            assert!(bad.score() < 0.11, "{bad:?} scores {}", bad.score());
            assert_eq!(bad.weakest(), flaw, "{bad:?}");
        }
    }
}
