//! Bringing a face into the form that an embedder takes. Each kind has a version in its name, since vectors of
//! differently aligned crops can't be compared.

use image::{Rgb, RgbImage};
use imageproc::geometric_transformations::{Border, Interpolation, Projection, warp_into};
use nalgebra::{Matrix2, Vector2};

use crate::detect::Landmarks;

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
    let projection = similarity(landmarks, &TEMPLATE_112)?;
    let mut crop = RgbImage::new(FIVE_POINT_112_SIDE_PX, FIVE_POINT_112_SIDE_PX);
    warp_into(
        picture,
        projection,
        Interpolation::Bilinear,
        Border::Constant(Rgb([0, 0, 0])),
        &mut crop,
    );
    Some(crop)
}

/// The similarity transform (rotation, one scale, shift; no mirroring) that takes `from` to `to` with the least sum of
/// squared distances: Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
/// PAMI 13(4), 1991, equations 40 to 42.
fn similarity(from: &Landmarks, to: &Landmarks) -> Option<Projection> {
    let mean = |points: &Landmarks| {
        points
            .iter()
            .map(|p| Vector2::new(f64::from(p[0]), f64::from(p[1])))
            .sum::<Vector2<f64>>()
            / 5.0
    };
    let (from_mean, to_mean) = (mean(from), mean(to));
    let mut covariance = Matrix2::zeros();
    let mut variance = 0.0;
    for (f, t) in from.iter().zip(to) {
        let f = Vector2::new(f64::from(f[0]), f64::from(f[1])) - from_mean;
        let t = Vector2::new(f64::from(t[0]), f64::from(t[1])) - to_mean;
        covariance += t * f.transpose() / 5.0;
        variance += f.norm_squared() / 5.0;
    }
    let svd = covariance.svd(true, true);
    let (u, v_t) = (svd.u?, svd.v_t?);
    let mirrored = u.determinant() * v_t.determinant() < 0.0;
    let sign = Matrix2::from_diagonal(&Vector2::new(1.0, if mirrored { -1.0 } else { 1.0 }));
    let rotation = u * sign * v_t;
    let scale = (Matrix2::from_diagonal(&svd.singular_values) * sign).trace() / variance;
    let shift = to_mean - scale * rotation * from_mean;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "pixel coordinates; f32 is what the warp takes"
    )]
    let cell = |value: f64| value as f32;
    // Refuses what can't be inverted: a zero or non-finite scale.
    Projection::from_matrix([
        cell(scale * rotation.m11),
        cell(scale * rotation.m12),
        cell(shift.x),
        cell(scale * rotation.m21),
        cell(scale * rotation.m22),
        cell(shift.y),
        0.0,
        0.0,
        1.0,
    ])
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
        let projection = similarity(&TEMPLATE_112.map(turn), &TEMPLATE_112).unwrap();
        for point in TEMPLATE_112 {
            let turned = turn(point);
            let (x, y) = projection * (turned[0], turned[1]);
            assert!((x - point[0]).abs() < 1e-3 && (y - point[1]).abs() < 1e-3);
        }
    }

    #[test]
    fn coinciding_landmarks_have_no_alignment() {
        assert!(five_point_112(&RgbImage::new(50, 50), &[[10.0, 10.0]; 5]).is_none());
    }
}
