//! Drawing faces into a picture: boxes, landmarks and names, readable on light and dark ground.

use ab_glyph::{Font, FontRef, InvalidFont, PxScale};
use image::{Rgb, RgbImage};
use imageproc::drawing::{draw_text_mut, text_size};

use crate::detect::{Face, FaceBox};

/// Ground of labels and rims of lines: near black, so that the colours stand out wherever the picture is light.
const DARK: Rgb<u8> = Rgb([18, 22, 28]);
/// Somebody known.
const KNOWN: Rgb<u8> = Rgb([94, 234, 174]);
/// A stranger.
const UNKNOWN: Rgb<u8> = Rgb([255, 196, 84]);
/// A face that is not looked at any closer.
const PASSED_OVER: Rgb<u8> = Rgb([150, 166, 186]);
const LIGHT: Rgb<u8> = Rgb([255, 255, 255]);
/// Of a note, beside the label's.
const NOTE_SIZE: f32 = 0.82;
const NOTE: Rgb<u8> = Rgb([196, 206, 220]);

/// Whose face it is, as a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Somebody known.
    Known,
    /// A stranger.
    Unknown,
    /// Nobody asked.
    PassedOver,
}

impl Tone {
    fn colour(self) -> Rgb<u8> {
        match self {
            Self::Known => KNOWN,
            Self::Unknown => UNKNOWN,
            Self::PassedOver => PASSED_OVER,
        }
    }
}

/// A face and what to write beside it.
#[derive(Debug, Clone)]
pub struct Mark<'a> {
    /// Where it is.
    pub face: &'a Face,
    /// A short line; characters that the font lacks don't show, so see [`Pen::writable`].
    pub label: String,
    /// A second, smaller line; empty for none.
    pub note: String,
    /// The colour.
    pub tone: Tone,
}

/// Draws with the built-in font.
pub struct Pen {
    font: FontRef<'static>,
}

impl Pen {
    /// Reads the font.
    ///
    /// # Errors
    /// When the font that is built in can't be read.
    pub fn new() -> Result<Self, InvalidFont> {
        // Latin, Greek and Cyrillic.
        FontRef::try_from_slice(epaint_default_fonts::UBUNTU_LIGHT).map(|font| Self { font })
    }

    /// `name` if the font can write all of it, else `id`.
    pub fn writable<'a>(&self, name: &'a str, id: &'a str) -> &'a str {
        let has_glyphs = name.chars().all(|c| self.font.glyph_id(c).0 != 0);
        if has_glyphs { name } else { id }
    }

    /// Writes a line whose letters are `height_px` high from its highest to its lowest, with its upper left corner at
    /// `at`, in pixels.
    pub fn write(&self, picture: &mut RgbImage, text: &str, at: (i32, i32), height_px: f32, ink: Rgb<u8>) {
        draw_text_mut(picture, ink, at.0, at.1, PxScale::from(height_px), &self.font, text);
    }

    /// Draws all marks, sized to the picture.
    pub fn draw(&self, picture: &mut RgbImage, marks: &[Mark<'_>]) {
        #[expect(clippy::cast_precision_loss, reason = "pixels of a picture")]
        let longest = picture.width().max(picture.height()) as f32;
        let line_px = (longest / 320.0).clamp(1.5, 8.0);
        for mark in marks {
            let colour = mark.tone.colour();
            draw_box(picture, &mark.face.box_in_frame, line_px, colour);
            let face_px = mark.face.box_in_frame.height();
            let radius = (face_px / 60.0).clamp(1.2, 2.0 * line_px);
            for landmark in mark.face.landmarks {
                draw_disc(picture, landmark, radius + 0.35 * line_px + 0.5, DARK);
                draw_disc(picture, landmark, radius, colour);
            }
        }
        // Labels last, so that no neighbour's box crosses a name.
        for mark in marks
            .iter()
            .filter(|mark| !mark.label.is_empty() || !mark.note.is_empty())
        {
            let colour = mark.tone.colour();
            let text_px = (mark.face.box_in_frame.height() / 7.0).clamp(13.0, (longest / 30.0).max(15.0));
            self.draw_label(picture, mark, colour, text_px, line_px);
        }
    }

    /// Above the box where there is room, else below, else inside at its top; never over the picture's edge.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "pixels of a picture, and text that fits it"
    )]
    fn draw_label(&self, picture: &mut RgbImage, mark: &Mark<'_>, colour: Rgb<u8>, text_px: f32, line_px: f32) {
        let scale = PxScale::from(text_px);
        let note_px = NOTE_SIZE * text_px;
        let note_scale = PxScale::from(note_px);
        let width_of = |scale, text: &str| text_size(scale, &self.font, text).0;
        let text_width = width_of(scale, &mark.label).max(width_of(note_scale, &mark.note));
        let line_height = |text: &str, height: f32| if text.is_empty() { 0.0 } else { height };
        let (padding_x, padding_y) = (0.45 * text_px, 0.22 * text_px);
        let bar = (0.16 * text_px).max(2.0);
        let width = text_width as f32 + 2.0 * padding_x + bar;
        let label_height = line_height(&mark.label, text_px);
        let height = label_height + line_height(&mark.note, note_px) + 2.0 * padding_y;
        let b = mark.face.box_in_frame;
        let (picture_width, picture_height) = (picture.width() as f32, picture.height() as f32);
        let gap = line_px + 2.0;
        let above = b.top - gap - height;
        let below = b.bottom + gap;
        let top = if above >= 0.0 {
            above
        } else if below + height <= picture_height {
            below
        } else {
            (b.top + gap).clamp(0.0, (picture_height - height).max(0.0))
        };
        let left = (b.left - line_px).clamp(0.0, (picture_width - width).max(0.0));
        let (left, top) = (left.round(), top.round());
        let label = FaceBox {
            left,
            top,
            right: left + width,
            bottom: top + height,
        };
        let round = 0.22 * text_px;
        fill(picture, &label, DARK, 0.86, |x, y| outside_rounded(&label, round, x, y));
        // The colour of the box as a bar at the label's start ties the two together.
        fill(picture, &label, colour, 1.0, |x, y| {
            outside_rounded(&label, round, x, y).max(x - left - bar)
        });
        let at = ((left + bar + padding_x) as i32, (top + padding_y) as i32);
        draw_text_mut(picture, LIGHT, at.0, at.1, scale, &self.font, &mark.label);
        let below = (top + padding_y + label_height) as i32;
        draw_text_mut(picture, NOTE, at.0, below, note_scale, &self.font, &mark.note);
    }
}

/// A line in `colour` with a dark rim on both sides.
fn draw_box(picture: &mut RgbImage, b: &FaceBox, line_px: f32, colour: Rgb<u8>) {
    let round = (b.width().min(b.height()) / 14.0).max(2.0);
    let rim = (line_px * 0.5).max(1.0);
    let reach = line_px + rim + 1.0;
    let bounds = FaceBox {
        left: b.left - reach,
        top: b.top - reach,
        right: b.right + reach,
        bottom: b.bottom + reach,
    };
    fill(picture, &bounds, DARK, 0.7, |x, y| {
        outside_rounded(b, round, x, y).abs() - line_px / 2.0 - rim
    });
    fill(picture, &bounds, colour, 1.0, |x, y| {
        outside_rounded(b, round, x, y).abs() - line_px / 2.0
    });
}

fn draw_disc(picture: &mut RgbImage, [x, y]: [f32; 2], radius: f32, colour: Rgb<u8>) {
    let bounds = FaceBox {
        left: x - radius,
        top: y - radius,
        right: x + radius,
        bottom: y + radius,
    };
    fill(picture, &bounds, colour, 1.0, |at_x, at_y| {
        (at_x - x).hypot(at_y - y) - radius
    });
}

/// How far a point lies outside of a box with rounded corners; negative inside.
fn outside_rounded(b: &FaceBox, round: f32, x: f32, y: f32) -> f32 {
    let [centre_x, centre_y] = b.centre();
    let across = (x - centre_x).abs() - (b.width() / 2.0 - round);
    let down = (y - centre_y).abs() - (b.height() / 2.0 - round);
    across.max(0.0).hypot(down.max(0.0)) + across.max(down).min(0.0) - round
}

/// Blends `colour` into the pixels of `bounds` that lie inside of a shape, with soft edges: `outside` is the distance of
/// a point from the shape in pixels, negative inside.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "pixels of a picture, clamped to it; colours between two colours"
)]
fn fill(picture: &mut RgbImage, bounds: &FaceBox, colour: Rgb<u8>, opacity: f32, outside: impl Fn(f32, f32) -> f32) {
    let range = |from: f32, to: f32, side: u32| {
        let inside = |value: f32| value.clamp(0.0, side as f32) as u32;
        inside((from - 1.0).floor())..inside((to + 1.0).ceil())
    };
    for y in range(bounds.top, bounds.bottom, picture.height()) {
        for x in range(bounds.left, bounds.right, picture.width()) {
            let share = (0.5 - outside(x as f32 + 0.5, y as f32 + 0.5)).clamp(0.0, 1.0) * opacity;
            if share > 0.0 {
                let pixel = picture.get_pixel_mut(x, y);
                for (old, new) in pixel.0.iter_mut().zip(colour.0) {
                    *old = (f32::from(*old) + (f32::from(new) - f32::from(*old)) * share).round() as u8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use image::imageops;

    use super::*;

    fn face(left: f32, top: f32, right: f32, bottom: f32) -> Face {
        let middle = [f32::midpoint(left, right), f32::midpoint(top, bottom)];
        Face {
            box_in_frame: FaceBox {
                left,
                top,
                right,
                bottom,
            },
            probability: 1.0,
            landmarks: [middle; 5],
        }
    }

    #[test]
    fn a_name_that_the_font_lacks_becomes_the_id() {
        let pen = Pen::new().unwrap();
        for name in ["José Müller", "Юлия", "Αλίκη", "O'Neill-Šćepanović"] {
            assert_eq!(pen.writable(name, "id"), name);
        }
        for name in ["王小明", "علی", "अमित", "Ali\u{200d}ce", "x\u{321}"] {
            assert_eq!(pen.writable(name, "id"), "id", "{name}");
        }
    }

    #[test]
    fn marks_show_on_black_white_and_grey() {
        let pen = Pen::new().unwrap();
        for ground in [0, 128, 255] {
            let mut picture = RgbImage::from_pixel(200, 200, Rgb([ground; 3]));
            let face = face(50.0, 60.0, 130.0, 160.0);
            pen.draw(
                &mut picture,
                &[Mark {
                    face: &face,
                    label: "Alice".into(),
                    note: String::new(),
                    tone: Tone::Known,
                }],
            );
            let is_green = |pixel: &&Rgb<u8>| i16::from(pixel[1]) - i16::from(pixel[0]) > 50;
            let green = picture.pixels().filter(is_green).count();
            assert!(green > 300, "box in colour on {ground}: {green}");
            let light_on_label = imageops::crop_imm(&picture, 55, 40, 40, 16).to_image();
            let is_light = |pixel: &&Rgb<u8>| pixel.0.iter().all(|value| *value > 200);
            assert!(
                light_on_label.pixels().filter(is_light).count() > 10,
                "name in white on {ground}"
            );
            let is_dark = |pixel: &&Rgb<u8>| pixel.0.iter().all(|value| *value < 80);
            assert!(
                picture.pixels().filter(is_dark).count() > 300,
                "dark ground for the name on {ground}"
            );
        }
    }

    #[test]
    fn marks_may_reach_over_every_edge_of_any_picture() {
        let pen = Pen::new().unwrap();
        for (width, height) in [(1, 1), (3, 400), (400, 3), (120, 90)] {
            let mut picture = RgbImage::new(width, height);
            for face in [
                face(-900.0, -900.0, 900.0, 900.0),
                face(-50.0, -50.0, -1.0, -1.0),
                face(80.0, 60.0, 500.0, 400.0),
            ] {
                let label = "a name that is far longer than the picture is wide".into();
                pen.draw(
                    &mut picture,
                    &[Mark {
                        face: &face,
                        label,
                        note: "a note".into(),
                        tone: Tone::Unknown,
                    }],
                );
            }
        }
    }
}
