//! The pictures of faces that are published.

use image::RgbImage;

use crate::detect::FaceBox;

/// The face with half its size around it.
pub(super) fn with_margin(frame: &RgbImage, face: &FaceBox) -> RgbImage {
    let (width, height) = frame.dimensions();
    let margin = 0.5 * face.width().max(face.height());
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the frame before"
    )]
    let within = |value: f32, side: u32| value.round().clamp(0.0, side as f32) as u32;
    let (left, top) = (within(face.left - margin, width), within(face.top - margin, height));
    let (right, bottom) = (within(face.right + margin, width), within(face.bottom + margin, height));
    image::imageops::crop_imm(
        frame,
        left,
        top,
        right.saturating_sub(left).max(1),
        bottom.saturating_sub(top).max(1),
    )
    .to_image()
}
