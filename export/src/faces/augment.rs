//! Chance changes of a face, so that a network learns the person and not the photo: what cameras do to faces, no more.

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use kith::align::Alignment;
use rand::RngExt;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// What may happen to a face, and how often. Lengths are shares of the picture's side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// How often it is mirrored, 0 to 1.
    pub mirror: f64,
    /// It is shifted by up to this, in each direction.
    pub shift: f32,
    /// It is made larger or smaller by up to this share.
    pub scale: f32,
    /// It is turned by up to this, either way.
    pub turn_degrees: f32,
    /// Brightness is moved by up to this share of white, either way.
    pub brightness: f32,
    /// Differences from the middle grey are made larger or smaller by up to this share.
    pub contrast: f32,
    /// Each colour's brightness is made more or less by up to this share, as by coloured light.
    pub tint: f32,
    /// How often colour is taken away, 0 to 1: infra-red cameras are grey.
    pub grey: f64,
    /// How often it is blurred, 0 to 1.
    pub blur: f64,
    /// Standard deviation of the strongest blur.
    pub blur_most: f32,
    /// How often it goes through JPEG, 0 to 1.
    pub jpeg: f64,
    /// The lowest JPEG quality, 1 to 100.
    pub jpeg_least: u8,
}

/// A choice of [`Augmentation`] by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Strength {
    /// What cameras of a home do
    Usual,
    /// More of it, and coloured light: for few photos
    Strong,
    /// None
    Off,
}

impl Strength {
    /// What it stands for.
    pub fn augmentation(self) -> Augmentation {
        match self {
            Self::Usual => Augmentation::default(),
            Self::Strong => Augmentation::strong(),
            Self::Off => Augmentation::none(),
        }
    }
}

impl Default for Augmentation {
    fn default() -> Self {
        Self {
            mirror: 0.5,
            shift: 0.04,
            scale: 0.08,
            turn_degrees: 8.0,
            brightness: 0.15,
            contrast: 0.3,
            tint: 0.0,
            grey: 0.15,
            blur: 0.2,
            blur_most: 0.015,
            jpeg: 0.2,
            jpeg_least: 30,
        }
    }
}

impl Augmentation {
    /// Nothing happens.
    pub fn none() -> Self {
        Self {
            mirror: 0.0,
            shift: 0.0,
            scale: 0.0,
            turn_degrees: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            tint: 0.0,
            grey: 0.0,
            blur: 0.0,
            blur_most: 0.0,
            jpeg: 0.0,
            jpeg_least: 100,
        }
    }

    /// For few people in many lights, of whom there are too few photos to show all lights.
    pub fn strong() -> Self {
        Self {
            shift: 0.06,
            scale: 0.12,
            turn_degrees: 10.0,
            brightness: 0.2,
            contrast: 0.5,
            tint: 0.3,
            grey: 0.2,
            blur: 0.3,
            blur_most: 0.02,
            ..Self::default()
        }
    }

    fn moves(&self) -> bool {
        self.shift > 0.0 || self.scale > 0.0 || self.turn_degrees > 0.0
    }
}

/// A cut as `alignment` takes it, changed by chance. The same random numbers give the same picture.
pub fn augmented(cut: &RgbImage, alignment: Alignment, how: &Augmentation, random: &mut StdRng) -> RgbImage {
    let mut face = if how.moves() {
        let around = |random: &mut StdRng, most: f32| {
            if most > 0.0 {
                random.random_range(-most..=most)
            } else {
                0.0
            }
        };
        let mirrored = random.random_bool(how.mirror);
        let (dx, dy) = (around(random, how.shift), around(random, how.shift));
        let scale = (1.0 + how.scale).powf(around(random, 1.0));
        let turn = around(random, how.turn_degrees).to_radians();
        moved(cut, alignment.side_px(), mirrored, [dx, dy], scale, turn)
    } else {
        let mut face = alignment.finish(cut);
        if random.random_bool(how.mirror) {
            image::imageops::flip_horizontal_in_place(&mut face);
        }
        face
    };
    if how.brightness > 0.0 || how.contrast > 0.0 {
        let brighter = random.random_range(-how.brightness..=how.brightness) * 255.0;
        let steeper = (1.0 + how.contrast).powf(random.random_range(-1.0..=1.0));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "casts of floats saturate"
        )]
        let table: [u8; 256] =
            std::array::from_fn(|level| ((level as f32 - 127.5) * steeper + 127.5 + brighter).round() as u8);
        for value in face.iter_mut() {
            *value = table[usize::from(*value)];
        }
    }
    if how.tint > 0.0 {
        let factors: [f32; 3] = std::array::from_fn(|_| (1.0 + how.tint).powf(random.random_range(-1.0..=1.0)));
        for pixel in face.pixels_mut() {
            for (value, factor) in pixel.0.iter_mut().zip(factors) {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "casts of floats saturate"
                )]
                {
                    *value = (f32::from(*value) * factor).round() as u8;
                }
            }
        }
    }
    if random.random_bool(how.grey) {
        for pixel in face.pixels_mut() {
            // Rec. 601 luma in 256ths.
            let [r, g, b] = pixel.0.map(u32::from);
            #[expect(clippy::cast_possible_truncation, reason = "a mean of bytes")]
            let luma = ((77 * r + 150 * g + 29 * b + 128) >> 8) as u8;
            pixel.0 = [luma; 3];
        }
    }
    if random.random_bool(how.blur) {
        let deviation = random.random_range(0.2..=1.0) * how.blur_most * alignment.side_px() as f32;
        face = image::imageops::fast_blur(&face, deviation);
    }
    if random.random_bool(how.jpeg) {
        let quality = random.random_range(how.jpeg_least..=95.max(how.jpeg_least));
        face = through_jpeg(face, quality);
    }
    face
}

/// `side` pixels of the cut, moved; what lies outside is the nearest edge's colour. `shift` in shares of the side.
fn moved(cut: &RgbImage, side: u32, mirrored: bool, shift: [f32; 2], scale: f32, turn: f32) -> RgbImage {
    let (width, height) = (cut.width(), cut.height());
    let zoom = width as f32 / side as f32 / scale;
    let (sin, cos) = (turn.sin() * zoom, turn.cos() * zoom);
    let middle = side as f32 / 2.0;
    let centre = [width as f32 * (0.5 + shift[0]), height as f32 * (0.5 + shift[1])];
    let (pixels, row_len) = (cut.as_raw(), width as usize * 3);
    let (last_x, last_y) = ((width - 1) as f32, (height - 1) as f32);
    let mut face = RgbImage::new(side, side);
    let rows = face.chunks_exact_mut(side as usize * 3);
    for (y, row) in rows.enumerate() {
        let dy = y as f32 + 0.5 - middle;
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let dx = if mirrored {
                middle - x as f32 - 0.5
            } else {
                x as f32 + 0.5 - middle
            };
            let from_x = (centre[0] + cos * dx - sin * dy - 0.5).clamp(0.0, last_x);
            let from_y = (centre[1] + sin * dx + cos * dy - 0.5).clamp(0.0, last_y);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "inside the picture"
            )]
            let (left, top) = (from_x as usize, from_y as usize);
            let (right_share, lower_share) = (from_x - left as f32, from_y - top as f32);
            let right = if left + 1 < width as usize { 3 } else { 0 };
            let below = if top + 1 < height as usize { row_len } else { 0 };
            let at = top * row_len + left * 3;
            for (channel, value) in pixel.iter_mut().enumerate() {
                let corner = |place: usize| f32::from(pixels[place + channel]);
                let upper = corner(at) + (corner(at + right) - corner(at)) * right_share;
                let lower = corner(at + below) + (corner(at + below + right) - corner(at + below)) * right_share;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "between grey levels"
                )]
                {
                    *value = (upper + (lower - upper) * lower_share + 0.5) as u8;
                }
            }
        }
    }
    face
}

/// As a camera's encoder would leave it; the picture itself where the encoder fails, which it does for none of this size.
fn through_jpeg(face: RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    let encoded = face.write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality));
    match encoded.and_then(|()| image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg)) {
        Ok(decoded) => decoded.into_rgb8(),
        Err(_) => face,
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use rand::SeedableRng;

    use super::*;

    /// A face-like picture: smooth, coloured, left and right not alike.
    fn cut() -> RgbImage {
        RgbImage::from_fn(112, 112, |x, y| {
            let wave = |k: f32| (127.0 + 80.0 * ((x as f32) * k).sin() * ((y as f32) * 0.05).cos()) as u8;
            Rgb([wave(0.03), wave(0.07), (x + y) as u8])
        })
    }

    fn with(how: &Augmentation, seed: u64) -> RgbImage {
        augmented(&cut(), Alignment::FivePoint112, how, &mut StdRng::seed_from_u64(seed))
    }

    fn mean_difference(a: &RgbImage, b: &RgbImage) -> f64 {
        let sum: u64 = a.iter().zip(b.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / a.len() as f64
    }

    #[test]
    fn nothing_is_nothing() {
        for alignment in [Alignment::FivePoint112, Alignment::FivePoint96] {
            let face = augmented(&cut(), alignment, &Augmentation::none(), &mut StdRng::seed_from_u64(1));
            assert_eq!(face, alignment.finish(&cut()));
        }
        // The path through the warp is the plain resize where it moves by nothing.
        assert_eq!(moved(&cut(), 112, false, [0.0, 0.0], 1.0, 0.0), cut());
        let small = moved(&cut(), 96, false, [0.0, 0.0], 1.0, 0.0);
        assert!(mean_difference(&small, &Alignment::FivePoint96.finish(&cut())) < 1.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_face_and_another_one_another() {
        let how = Augmentation::default();
        assert_eq!(with(&how, 5), with(&how, 5));
        let faces: std::collections::BTreeSet<Vec<u8>> = (0..20).map(|seed| with(&how, seed).into_raw()).collect();
        assert_eq!(faces.len(), 20);
    }

    #[test]
    fn each_part_does_what_it_says() {
        let none = Augmentation::none;
        let mirrored = with(&Augmentation { mirror: 1.0, ..none() }, 1);
        assert_eq!(mirrored, image::imageops::flip_horizontal(&cut()));
        let grey = with(&Augmentation { grey: 1.0, ..none() }, 1);
        assert!(grey.pixels().all(|p| p[0] == p[1] && p[1] == p[2]) && grey.pixels().any(|p| p[0] != grey[(0, 0)][0]));
        for (changed, least, most) in [
            (Augmentation { shift: 0.05, ..none() }, 0.3, 12.0),
            (Augmentation { scale: 0.1, ..none() }, 0.1, 12.0),
            (
                Augmentation {
                    turn_degrees: 10.0,
                    ..none()
                },
                0.1,
                15.0,
            ),
            (
                Augmentation {
                    brightness: 0.2,
                    ..none()
                },
                0.5,
                51.0,
            ),
            (
                Augmentation {
                    contrast: 0.3,
                    ..none()
                },
                0.5,
                40.0,
            ),
            (Augmentation { tint: 0.3, ..none() }, 1.0, 40.0),
            (
                Augmentation {
                    jpeg: 1.0,
                    jpeg_least: 20,
                    ..none()
                },
                0.1,
                6.0,
            ),
            (
                Augmentation {
                    blur: 1.0,
                    blur_most: 0.02,
                    ..none()
                },
                0.01,
                12.0,
            ),
        ] {
            let differences = (0..8).map(|seed| mean_difference(&with(&changed, seed), &cut()));
            let mean = differences.sum::<f64>() / 8.0;
            assert!((least..most).contains(&mean), "{changed:?}: {mean}");
        }
    }

    #[test]
    fn mirroring_and_moving_go_together() {
        let mirrored = moved(&cut(), 112, true, [0.0, 0.0], 1.0, 0.0);
        assert_eq!(mirrored, image::imageops::flip_horizontal(&cut()));
        // Shifting the window right moves the content left.
        let shifted = moved(&cut(), 112, false, [0.125, 0.0], 1.0, 0.0);
        assert_eq!(shifted[(20, 50)], cut()[(34, 50)]);
    }
}
