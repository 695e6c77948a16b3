//! Changed looks of a face for training: what cameras, light and detectors do to it.

use image::codecs::jpeg::JpegEncoder;
use image::imageops::flip_horizontal_in_place;
use image::{ImageFormat, RgbImage};
use kith::align::Alignment;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

/// How much a face is changed. What is left out of a file is off.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Probability of left and right changing places.
    pub mirror: f32,
    /// Farthest shift in each direction, as a share of the side, 0 to 0.5.
    pub shift: f32,
    /// Largest change of size: 0.1 is a factor between 0.9 and 1.1; 0 to 0.5.
    pub scale: f32,
    /// Farthest turn to either side, 0 to 45.
    pub rotate_degrees: f32,
    /// Most that is added to or taken from every value, as a share of the full range, 0 to 1.
    pub brightness: f32,
    /// Largest change of the distance from middle grey: 0.2 is a factor between 0.8 and 1.2; 0 to 1.
    pub contrast: f32,
    /// Probability of grey, as from an infra-red camera.
    pub grey: f32,
    /// Probability of a blur, out of focus or enlarged.
    pub blur: f32,
    /// Largest standard deviation of a blur, in pixels of the finished face, 0 to 5.
    pub blur_sigma_px: f32,
    /// Probability of going through JPEG.
    pub jpeg: f32,
    /// Worst and best quality of that, 1 to 100.
    pub jpeg_quality: [u8; 2],
}

impl Default for Augmentation {
    fn default() -> Self {
        Self::OFF
    }
}

impl Augmentation {
    /// Nothing is changed.
    pub const OFF: Self = Self {
        mirror: 0.0,
        shift: 0.0,
        scale: 0.0,
        rotate_degrees: 0.0,
        brightness: 0.0,
        contrast: 0.0,
        grey: 0.0,
        blur: 0.0,
        blur_sigma_px: 0.0,
        jpeg: 0.0,
        jpeg_quality: [40, 95],
    };

    /// A judgement of what cameras of a home do; the place to start from.
    pub const USUAL: Self = Self {
        mirror: 0.5,
        shift: 0.04,
        scale: 0.06,
        rotate_degrees: 4.0,
        brightness: 0.15,
        contrast: 0.2,
        grey: 0.1,
        blur: 0.15,
        blur_sigma_px: 1.2,
        jpeg: 0.2,
        jpeg_quality: [40, 95],
    };

    /// Whether all values are in their ranges.
    ///
    /// # Errors
    /// With the first that is not, by name.
    pub fn check(&self) -> anyhow::Result<()> {
        for (name, value, most) in [
            ("mirror", self.mirror, 1.0),
            ("shift", self.shift, 0.5),
            ("scale", self.scale, 0.5),
            ("rotate_degrees", self.rotate_degrees, 45.0),
            ("brightness", self.brightness, 1.0),
            ("contrast", self.contrast, 1.0),
            ("grey", self.grey, 1.0),
            ("blur", self.blur, 1.0),
            ("blur_sigma_px", self.blur_sigma_px, 5.0),
            ("jpeg", self.jpeg, 1.0),
        ] {
            anyhow::ensure!(
                (0.0..=most).contains(&value),
                "the augmentation's {name} is {value}; it must be between 0 and {most}"
            );
        }
        let [worst, best] = self.jpeg_quality;
        anyhow::ensure!(
            1 <= worst && worst <= best && best <= 100,
            "the augmentation's jpeg_quality is [{worst}, {best}]; it must be two numbers from 1 to 100, the worse first"
        );
        Ok(())
    }
}

/// What chance decided for one face. Always the same number of draws, so that one setting changes nothing but its part.
struct Drawn {
    is_mirrored: bool,
    shift: [f32; 2],
    scale: f32,
    turn_degrees: f32,
    brightness: f32,
    contrast: f32,
    is_grey: bool,
    blur_sigma_px: Option<f32>,
    jpeg_quality: Option<u8>,
}

impl Drawn {
    fn of(settings: &Augmentation, random: &mut StdRng) -> Self {
        let mut share = || random.random_range(0.0..1.0_f32);
        let mut happens = |probability: f32| share() < probability;
        let is_mirrored = happens(settings.mirror);
        let is_grey = happens(settings.grey);
        let is_blurred = happens(settings.blur);
        let is_jpeg = happens(settings.jpeg);
        let blur_sigma_px = share() * settings.blur_sigma_px;
        let [worst, best] = settings.jpeg_quality.map(f32::from);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between two values that were u8"
        )]
        let jpeg_quality = (worst + share() * (best - worst)).round() as u8;
        let mut within = |most: f32| (2.0 * share() - 1.0) * most;
        Self {
            is_mirrored,
            shift: [within(settings.shift), within(settings.shift)],
            scale: 1.0 + within(settings.scale),
            turn_degrees: within(settings.rotate_degrees),
            brightness: within(settings.brightness),
            contrast: 1.0 + within(settings.contrast),
            is_grey,
            blur_sigma_px: Some(blur_sigma_px).filter(|sigma| is_blurred && *sigma > 0.0),
            jpeg_quality: Some(jpeg_quality).filter(|_| is_jpeg),
        }
    }

    #[expect(clippy::float_cmp, reason = "exactly zero and one where a setting is off")]
    fn moves(&self) -> bool {
        self.shift != [0.0; 2] || self.scale != 1.0 || self.turn_degrees != 0.0
    }
}

/// A changed look of `cut`, a crop of [`Alignment::cut`], at the side of `alignment`: moved first, then finished as in
/// serving (so that both are equally sharp), then blurred, lit, coloured and compressed, in a camera's order. With
/// [`Augmentation::OFF`] it is [`Alignment::finish`] to the bit; the same `random` gives the same look.
pub fn augmented(cut: &RgbImage, alignment: Alignment, settings: &Augmentation, random: &mut StdRng) -> RgbImage {
    let drawn = Drawn::of(settings, random);
    let mut face = if drawn.moves() {
        alignment.finish(&moved(cut, &drawn))
    } else {
        alignment.finish(cut)
    };
    if drawn.is_mirrored {
        flip_horizontal_in_place(&mut face);
    }
    if let Some(sigma_px) = drawn.blur_sigma_px {
        face = blurred(&face, sigma_px);
    }
    relight(&mut face, drawn.brightness, drawn.contrast);
    if drawn.is_grey {
        turn_grey(&mut face);
    }
    match drawn.jpeg_quality {
        Some(quality) => through_jpeg(face, quality),
        None => face,
    }
}

/// Turned and scaled around its middle and shifted, bilinear; beyond the edge the edge goes on.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "pixels of a crop, clamped to it"
)]
fn moved(cut: &RgbImage, drawn: &Drawn) -> RgbImage {
    let (width, height) = cut.dimensions();
    let (rows, row_len) = (cut.as_raw(), width as usize * 3);
    let middle = [(width as f32 - 1.0) / 2.0, (height as f32 - 1.0) / 2.0];
    let (sine, cosine) = drawn.turn_degrees.to_radians().sin_cos();
    let (sine, cosine) = (sine / drawn.scale, cosine / drawn.scale);
    let shift = [drawn.shift[0] * width as f32, drawn.shift[1] * height as f32];
    let last = [width as f32 - 1.0, height as f32 - 1.0];
    let mut moved = RgbImage::new(width, height);
    for (y, row) in moved.as_mut().chunks_exact_mut(row_len.max(1)).enumerate() {
        let dy = y as f32 - middle[1] - shift[1];
        for (x, pixel) in row.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let dx = x as f32 - middle[0] - shift[0];
            let from_x = (cosine * dx + sine * dy + middle[0]).clamp(0.0, last[0]);
            let from_y = (cosine * dy - sine * dx + middle[1]).clamp(0.0, last[1]);
            let (left, top) = (from_x as usize, from_y as usize);
            let (right_share, lower_share) = (from_x - left as f32, from_y - top as f32);
            let step_x = if left + 1 < width as usize { 3 } else { 0 };
            let step_y = if top + 1 < height as usize { row_len } else { 0 };
            let at = top * row_len + left * 3;
            for (channel, value) in pixel.iter_mut().enumerate() {
                let corner = |step: usize| f32::from(rows[at + channel + step]);
                let upper = corner(0) + (corner(step_x) - corner(0)) * right_share;
                let (lower_left, lower_right) = (corner(step_y), corner(step_y + step_x));
                let lower = lower_left + (lower_right - lower_left) * right_share;
                *value = (upper + (lower - upper) * lower_share + 0.5) as u8;
            }
        }
    }
    moved
}

/// A Gaussian blur, row by row and then column by column; beyond the edge the edge goes on.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a few pixels, and averages of values that were u8"
)]
fn blurred(face: &RgbImage, sigma_px: f32) -> RgbImage {
    let radius = (2.5 * sigma_px).ceil().max(1.0) as usize;
    let mut weights: Vec<f32> = (0..=2 * radius)
        .map(|at| (-0.5 * ((at as f32 - radius as f32) / sigma_px).powi(2)).exp())
        .collect();
    let sum: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= sum);
    let (width, height) = (face.width() as usize, face.height() as usize);
    // A line of the picture at a time, spread into its neighbours' sums.
    let along = |from: &[f32], to: &mut [f32], lines: usize, line_len: usize| {
        for line in 0..lines {
            let target = &mut to[line * line_len..(line + 1) * line_len];
            for (at, weight) in weights.iter().enumerate() {
                let source = (line + at).saturating_sub(radius).min(lines - 1);
                let source = &from[source * line_len..(source + 1) * line_len];
                for (target, source) in target.iter_mut().zip(source) {
                    *target += weight * source;
                }
            }
        }
    };
    let values: Vec<f32> = face.as_raw().iter().map(|value| f32::from(*value)).collect();
    let mut down = vec![0.0; values.len()];
    along(&values, &mut down, height, width * 3);
    // Columns become rows, so that both directions run over whole lines.
    let turned = |from: &[f32], width: usize, height: usize| {
        let mut to = vec![0.0; from.len()];
        for (y, row) in from.chunks_exact(width * 3).enumerate() {
            for (x, pixel) in row.as_chunks::<3>().0.iter().enumerate() {
                to[(x * height + y) * 3..][..3].copy_from_slice(pixel);
            }
        }
        to
    };
    let mut across = vec![0.0; values.len()];
    along(&turned(&down, width, height), &mut across, width, height * 3);
    let mut blurred = face.clone();
    for (value, sum) in blurred.as_mut().iter_mut().zip(turned(&across, height, width)) {
        *value = (sum + 0.5) as u8;
    }
    blurred
}

/// `brightness` is added as a share of the full range, `contrast` a factor of the distance from middle grey.
#[expect(clippy::float_cmp, reason = "exactly zero and one where a setting is off")]
fn relight(face: &mut RgbImage, brightness: f32, contrast: f32) {
    if brightness == 0.0 && contrast == 1.0 {
        return;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float is clamped to what u8 holds"
    )]
    let light = |value: u8| ((f32::from(value) - 127.5) * contrast + 127.5 + 255.0 * brightness + 0.5) as u8;
    let mut table = [0; 256];
    for (value, light_value) in (0..=u8::MAX).zip(&mut table) {
        *light_value = light(value);
    }
    for value in face.as_mut().iter_mut() {
        *value = table[usize::from(*value)];
    }
}

/// Rec. 601 luma in all three channels.
fn turn_grey(face: &mut RgbImage) {
    for pixel in face.as_mut().as_chunks_mut::<3>().0 {
        let [r, g, b] = pixel.map(u32::from);
        let luma = (77 * r + 150 * g + 29 * b + 128) >> 8;
        *pixel = [u8::try_from(luma).unwrap_or(u8::MAX); 3];
    }
}

/// Encoded and decoded again.
fn through_jpeg(face: RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Vec::new();
    let written = JpegEncoder::new_with_quality(&mut bytes, quality).encode_image(&face);
    // To and from memory nothing fails for a picture of this size; if it did, the face would go on as it was.
    match written.and_then(|()| image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg)) {
        Ok(decoded) => decoded.into_rgb8(),
        Err(_) => face,
    }
}

#[cfg(test)]
#[path = "augment_tests.rs"]
mod tests;
