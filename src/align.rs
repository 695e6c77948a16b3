//! Bringing a face into the form that an embedder takes: a [`Cut`] out of the picture, then a resize to the network's
//! side. Each [`Alignment`] has a version in its name, since vectors of differently aligned crops can't be compared.
//! Training and serving go through the same code.

mod resize;

use image::{Rgb, RgbImage};
use resize::{Area, resized};
use serde::{Deserialize, Serialize};

use crate::detect::{Face, FaceBox, Landmarks};

/// How a face is brought into the form that a network takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Alignment {
    /// Five landmarks to the usual template, 112x112: what MobileFaceNet takes.
    #[serde(rename = "five-point-112-v1")]
    FivePoint112,
    /// The 112x112 crop by five landmarks, shrunk to 96x96.
    #[serde(rename = "five-point-96-v1")]
    FivePoint96,
    /// The plain box at 160x160, shrunk to 96x96, as NN4.small2 was fed by the project that Kith comes from.
    #[serde(rename = "box-96-v1")]
    Box96,
}

impl Alignment {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::FivePoint112, Self::FivePoint96, Self::Box96];

    /// The alignment of that name in the catalogue.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alignment| alignment.name() == name)
    }

    /// Its name in the catalogue, with its version.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FivePoint112 => FIVE_POINT_112,
            Self::FivePoint96 => "five-point-96-v1",
            Self::Box96 => "box-96-v1",
        }
    }

    /// Width and height of the aligned face, in pixels.
    pub const fn side_px(self) -> u32 {
        match self {
            Self::FivePoint112 => FIVE_POINT_112_SIDE_PX,
            Self::FivePoint96 | Self::Box96 => 96,
        }
    }

    /// What is cut out of the picture first.
    pub const fn cut(self) -> Cut {
        match self {
            Self::FivePoint112 | Self::FivePoint96 => Cut::FivePoint112,
            Self::Box96 => Cut::Box160,
        }
    }

    /// Cuts `face` out of `picture` and brings it to [`Self::side_px`]. `None` when the landmarks coincide or the box
    /// lies outside of the picture.
    pub fn align(self, picture: &RgbImage, face: &Face) -> Option<RgbImage> {
        Some(self.finish(&self.cut().cut(picture, face)?))
    }

    /// Brings a crop of [`Self::cut`] to [`Self::side_px`]; as it is where it has that size.
    pub fn finish(self, cut: &RgbImage) -> RgbImage {
        let side = self.side_px();
        if cut.dimensions() == (side, side) {
            return cut.clone();
        }
        resized(cut, Area::all(cut), side)
    }
}

/// The first half of an [`Alignment`]: what is cut out of the picture, and kept where crops are kept for training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Cut {
    /// [`five_point_112`].
    #[serde(rename = "five-point-112")]
    FivePoint112,
    /// [`box_160`].
    #[serde(rename = "box-160")]
    Box160,
}

impl Cut {
    /// All that there are.
    pub const ALL: [Self; 2] = [Self::FivePoint112, Self::Box160];

    /// Its name, and that of the folder that such crops are kept in.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FivePoint112 => "five-point-112",
            Self::Box160 => "box-160",
        }
    }

    /// Width and height of the crop, in pixels.
    pub const fn side_px(self) -> u32 {
        match self {
            Self::FivePoint112 => FIVE_POINT_112_SIDE_PX,
            Self::Box160 => BOX_160_SIDE_PX,
        }
    }

    /// Cuts `face` out of `picture`. `None` when the landmarks coincide or the box lies outside of the picture.
    pub fn cut(self, picture: &RgbImage, face: &Face) -> Option<RgbImage> {
        match self {
            Self::FivePoint112 => five_point_112(picture, &face.landmarks),
            Self::Box160 => box_160(picture, &face.box_in_frame),
        }
    }
}

/// Width and height of a [`box_160`] crop, in pixels.
pub const BOX_160_SIDE_PX: u32 = 160;

/// Cuts out the face's box, as far as it lies in the picture, and stretches it to 160x160 (bilinear, averaging over all
/// pixels where it shrinks): what facenet-pytorch's `MTCNN(image_size=160, margin=0)` gives for a PIL picture, with the
/// edges cut off to whole pixels as it does. `None` when nothing of the box lies in the picture.
pub fn box_160(picture: &RgbImage, face: &FaceBox) -> Option<RgbImage> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "clamped to a picture; what is not finite becomes 0 and is refused"
    )]
    let inside = |value: f32, side: u32| value.clamp(0.0, side as f32) as u32;
    let (left, right) = (inside(face.left, picture.width()), inside(face.right, picture.width()));
    let (top, bottom) = (
        inside(face.top, picture.height()),
        inside(face.bottom, picture.height()),
    );
    let (width, height) = (right.checked_sub(left)?, bottom.checked_sub(top)?);
    if width == 0 || height == 0 {
        return None;
    }
    let area = Area {
        left,
        top,
        width,
        height,
    };
    Some(resized(picture, area, BOX_160_SIDE_PX))
}

/// The name of [`five_point_112`] in the catalogue.
pub const FIVE_POINT_112: &str = "five-point-112-v1";

/// Width and height of a [`five_point_112`] crop, in pixels.
pub const FIVE_POINT_112_SIDE_PX: u32 = 112;

/// Where the five landmarks come to lie in the 112x112 crop, in pixels: the template that ArcFace and most
/// MobileFaceNets were trained with.
const TEMPLATE_112: Landmarks = [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
];

/// Rotates, scales and shifts `picture` so that `landmarks` come as close as possible (least squares) to the template,
/// and cuts out 112x112 pixels, bilinear; what lies outside of the picture is black. `None` when the landmarks
/// coincide, so that no such transform exists.
pub fn five_point_112(picture: &RgbImage, landmarks: &Landmarks) -> Option<RgbImage> {
    let from_crop = similarity(&TEMPLATE_112, landmarks)?;
    Some(RgbImage::from_fn(
        FIVE_POINT_112_SIDE_PX,
        FIVE_POINT_112_SIDE_PX,
        |x, y| {
            let [x, y] = from_crop.apply(x as f32, y as f32);
            bilinear(picture, x, y)
        },
    ))
}

/// The colour between four pixels, whose centres have whole coordinates; black outside of the picture.
///
/// Rounded to the nearest, as the reference crops are: these come out equal, while `imageproc`'s warp, which cuts off,
/// was 0.4 to 0.9 grey levels away on average, and took 2.0 ms for five faces where this takes 1.6.
fn bilinear(picture: &RgbImage, x: f32, y: f32) -> Rgb<u8> {
    // `f32::floor` is a function call where the processor's newer instructions may not be assumed.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "pixel coordinates; beyond i32 they saturate, far outside"
    )]
    let floor = |value: f32| {
        let towards_zero = value as i32;
        if (towards_zero as f32) > value {
            towards_zero - 1
        } else {
            towards_zero
        }
    };
    let (left, top) = (floor(x), floor(y));
    let (right_share, lower_share) = (x - left as f32, y - top as f32);
    let (rows, row_len) = (picture.as_raw(), picture.width() as usize * 3);
    // Left and right pixel of the upper and of the lower row.
    let mut corners = [[0; 6]; 2];
    let inside = |start: i32, side: u32| usize::try_from(start).ok().filter(|start| start + 1 < side as usize);
    if let (Some(left), Some(top)) = (inside(left, picture.width()), inside(top, picture.height())) {
        for (row, corners) in (top..).zip(&mut corners) {
            let at = row * row_len + left * 3;
            corners.copy_from_slice(&rows[at..at + 6]);
        }
    } else {
        for (dy, corners) in (0..).zip(&mut corners) {
            for (dx, corner) in (0..).zip(corners.as_chunks_mut::<3>().0) {
                let at = |start: i32, step: i32| u32::try_from(start.saturating_add(step)).ok();
                if let Some(pixel) = at(left, dx)
                    .zip(at(top, dy))
                    .and_then(|(x, y)| picture.get_pixel_checked(x, y))
                {
                    *corner = pixel.0;
                }
            }
        }
    }
    Rgb([0, 1, 2].map(|channel| {
        let [upper, lower] = corners.map(|row| {
            let (left, right) = (f32::from(row[channel]), f32::from(row[channel + 3]));
            left + (right - left) * right_share
        });
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between two grey levels"
        )]
        {
            (upper + (lower - upper) * lower_share + 0.5) as u8
        }
    }))
}

/// `[x', y'] = [a x - b y + shift_x, b x + a y + shift_y]`
#[derive(Debug, Clone, Copy)]
struct Similarity {
    a: f32,
    b: f32,
    shift: [f32; 2],
}

impl Similarity {
    fn apply(&self, x: f32, y: f32) -> [f32; 2] {
        [
            self.a * x - self.b * y + self.shift[0],
            self.b * x + self.a * y + self.shift[1],
        ]
    }
}

/// The similarity transform (rotation, one scale, shift; no mirroring) whose inverse takes `to` to `from` with the least
/// sum of squared distances. `None` when the points of `to` coincide.
///
/// For a similarity the least-squares solution is closed: with complex numbers for points, centred on their means, the
/// factor is `sum(conj(t) f) / sum(|t|^2)`. Umeyama's general solution ("Least-squares estimation of transformation
/// parameters between two point patterns", PAMI 13(4), 1991) comes to the same in the plane.
fn similarity(from: &Landmarks, to: &Landmarks) -> Option<Similarity> {
    let mean = |points: &Landmarks| {
        [0, 1].map(|axis| points.iter().map(|point| f64::from(point[axis])).sum::<f64>() / points.len() as f64)
    };
    let (from_mean, to_mean) = (mean(from), mean(to));
    let (mut real, mut imaginary, mut spread) = (0.0, 0.0, 0.0);
    for (f, t) in from.iter().zip(to) {
        let [fx, fy] = [f64::from(f[0]) - from_mean[0], f64::from(f[1]) - from_mean[1]];
        let [tx, ty] = [f64::from(t[0]) - to_mean[0], f64::from(t[1]) - to_mean[1]];
        real += tx * fx + ty * fy;
        imaginary += tx * fy - ty * fx;
        spread += tx * tx + ty * ty;
    }
    // From `to` to `from`; what is wanted is its inverse, which has to exist.
    let (a, b) = (real / spread, imaginary / spread);
    let square = a * a + b * b;
    if !square.is_finite() || square <= 0.0 {
        return None;
    }
    let (a, b) = (a / square, -b / square);
    let shift = [
        to_mean[0] - (a * from_mean[0] - b * from_mean[1]),
        to_mean[1] - (b * from_mean[0] + a * from_mean[1]),
    ];
    #[expect(clippy::cast_possible_truncation, reason = "pixel coordinates")]
    Some(Similarity {
        a: a as f32,
        b: b as f32,
        shift: shift.map(|value| value as f32),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_maps_to_itself() {
        let picture = RgbImage::from_fn(112, 112, |x, y| Rgb([x as u8, y as u8, 7]));
        let crop = five_point_112(&picture, &TEMPLATE_112).unwrap();
        for (x, y, pixel) in crop
            .enumerate_pixels()
            .filter(|(x, y, _)| (2..110).contains(x) && (2..110).contains(y))
        {
            assert!(
                pixel[0].abs_diff(x as u8) <= 1 && pixel[1].abs_diff(y as u8) <= 1,
                "at {x} {y}: {pixel:?}"
            );
        }
    }

    #[test]
    fn a_turned_and_scaled_face_comes_back_upright() {
        let turn = |p: [f32; 2]| [200.0 - 2.0 * p[1], 50.0 + 2.0 * p[0]];
        let from_crop = similarity(&TEMPLATE_112, &TEMPLATE_112.map(turn)).unwrap();
        for point in TEMPLATE_112 {
            let (found, turned) = (from_crop.apply(point[0], point[1]), turn(point));
            assert!(
                (found[0] - turned[0]).abs() < 1e-3 && (found[1] - turned[1]).abs() < 1e-3,
                "{found:?} {turned:?}"
            );
        }
    }

    #[test]
    fn outside_of_the_picture_is_black() {
        let white = RgbImage::from_pixel(20, 20, Rgb([255; 3]));
        let beyond = TEMPLATE_112.map(|[x, y]| [x - 60.0, y - 60.0]);
        let crop = five_point_112(&white, &beyond).unwrap();
        assert_eq!((crop.get_pixel(0, 0).0, crop.get_pixel(70, 70).0), ([0; 3], [255; 3]));
        assert_eq!(crop.get_pixel(111, 111).0, [0; 3]);
    }

    #[test]
    fn coinciding_landmarks_have_no_alignment() {
        assert!(five_point_112(&RgbImage::new(50, 50), &[[10.0, 10.0]; 5]).is_none());
    }
}
