//! Shrinking a part of a picture by area averaging, into normalised planes.
//!
//! The same sums as torch's adaptive average pooling, which facenet-pytorch shrinks with: output cell `i` of `n`
//! averages the input pixels from `floor(i * size / n)` to `ceil((i + 1) * size / n)`, so that neighbouring cells may
//! share a pixel. Sums are whole numbers, hence exact in any order; detection that equals the reference hangs on that.

use std::ops::Range;

use image::RgbImage;

/// A rectangle of whole pixels inside a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Area {
    pub(super) left: usize,
    pub(super) top: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Area {
    pub(super) fn whole(picture: &RgbImage) -> Self {
        Self {
            left: 0,
            top: 0,
            width: picture.width() as usize,
            height: picture.height() as usize,
        }
    }
}

/// What MTCNN's networks take: `(value - MEAN) * SCALE`.
pub(super) const MEAN: f32 = 127.5;
/// See [`MEAN`].
pub(super) const SCALE: f32 = 0.007_812_5;

/// The input pixels of output cell `index` of `cells`.
fn bin(index: usize, size: usize, cells: usize) -> Range<usize> {
    index * size / cells..((index + 1) * size).div_ceil(cells)
}

/// Shrinks (or, for a tiny area, enlarges) to `width` x `height` cells, into three planes (red, green, blue) of as many.
pub(super) fn shrink(
    picture: &RgbImage,
    area: Area,
    (width, height): (usize, usize),
    planes: &mut [f32],
    scratch: &mut Scratch,
) {
    let stride = picture.width() as usize * 3;
    let pixels = picture.as_raw();
    let row_length = area.width * 3;
    scratch.columns.clear();
    scratch.columns.extend((0..width).map(|x| {
        let columns = bin(x, area.width, width);
        (columns.start * 3, columns.end * 3)
    }));
    let (red, rest) = planes.split_at_mut(width * height);
    let (green, blue) = rest.split_at_mut(width * height);
    for y in 0..height {
        let lines = bin(y, area.height, height);
        // A column of u16 sums holds 257 rows of 255; taller bins (small outputs of huge pictures) go through u32.
        let line = |index: usize| {
            let start = (area.top + index) * stride + area.left * 3;
            &pixels[start..start + row_length]
        };
        let out = y * width..(y + 1) * width;
        let out = [&mut red[out.clone()], &mut green[out.clone()], &mut blue[out]];
        if lines.len() <= 257 {
            sum_lines(&mut scratch.narrow, lines.clone().map(line), row_length);
            average(&scratch.narrow, &scratch.columns, lines.len(), out);
        } else {
            sum_lines(&mut scratch.wide, lines.clone().map(line), row_length);
            average(&scratch.wide, &scratch.columns, lines.len(), out);
        }
    }
}

/// Buffers that outlive a call, so that a frame allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    narrow: Vec<u16>,
    wide: Vec<u32>,
    columns: Vec<(usize, usize)>,
}

fn sum_lines<'a, S: Copy + From<u8> + std::ops::AddAssign>(
    sums: &mut Vec<S>,
    mut lines: impl Iterator<Item = &'a [u8]>,
    row_length: usize,
) {
    sums.clear();
    match lines.next() {
        Some(line) => sums.extend(line.iter().map(|&value| S::from(value))),
        None => sums.resize(row_length, S::from(0)),
    }
    for line in lines {
        for (sum, &value) in sums.iter_mut().zip(line) {
            *sum += S::from(value);
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sums of a bin stay below 2^24 for pictures up to 4096 px a side"
)]
fn average<S: Copy + Into<u32>>(sums: &[S], columns: &[(usize, usize)], lines: usize, out: [&mut [f32]; 3]) {
    let [red, green, blue] = out;
    for ((((start, end), red), green), blue) in columns.iter().zip(red).zip(green).zip(blue) {
        let (mut r, mut g, mut b) = (0_u32, 0_u32, 0_u32);
        for pixel in sums[*start..*end].chunks_exact(3) {
            r += pixel[0].into();
            g += pixel[1].into();
            b += pixel[2].into();
        }
        let count = (lines * (end - start) / 3) as f32;
        *red = (r as f32 / count - MEAN) * SCALE;
        *green = (g as f32 / count - MEAN) * SCALE;
        *blue = (b as f32 / count - MEAN) * SCALE;
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// The definition, pixel by pixel.
    fn slow(picture: &RgbImage, area: Area, (width, height): (usize, usize)) -> Vec<f32> {
        let mut planes = vec![0.0; 3 * width * height];
        for (channel, plane) in planes.chunks_mut(width * height).enumerate() {
            for y in 0..height {
                for x in 0..width {
                    let (mut sum, mut count) = (0.0_f64, 0.0_f64);
                    for py in bin(y, area.height, height) {
                        for px in bin(x, area.width, width) {
                            let at = ((area.left + px) as u32, (area.top + py) as u32);
                            sum += f64::from(picture.get_pixel(at.0, at.1)[channel]);
                            count += 1.0;
                        }
                    }
                    plane[y * width + x] = ((sum / count - 127.5) * 0.0078125) as f32;
                }
            }
        }
        planes
    }

    fn check(picture_size: (u32, u32), area: Area, size: (usize, usize)) {
        let picture = RgbImage::from_fn(picture_size.0, picture_size.1, |x, y| {
            let mixed = x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503) ^ (x * y);
            Rgb([(mixed >> 3) as u8, (mixed >> 11) as u8, (x + y) as u8])
        });
        let cells = size.0 * size.1;
        let mut planes = vec![0.0; 3 * cells];
        shrink(&picture, area, size, &mut planes, &mut Scratch::default());
        for (index, (fast, slow)) in planes.iter().zip(slow(&picture, area, size)).enumerate() {
            assert!((fast - slow).abs() < 1e-6, "cell {index}: {fast} {slow}");
        }
    }

    #[test]
    fn equals_the_definition_shrinking_enlarging_and_in_a_corner() {
        check(
            (97, 61),
            Area {
                left: 0,
                top: 0,
                width: 97,
                height: 61,
            },
            (31, 19),
        );
        check(
            (97, 61),
            Area {
                left: 80,
                top: 50,
                width: 17,
                height: 11,
            },
            (24, 24),
        );
        check(
            (640, 700),
            Area {
                left: 3,
                top: 2,
                width: 600,
                height: 690,
            },
            (5, 2),
        );
        check(
            (1, 1),
            Area {
                left: 0,
                top: 0,
                width: 1,
                height: 1,
            },
            (24, 24),
        );
    }
}
