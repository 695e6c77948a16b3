//! What a detector finds: a face, its box and its landmarks, in pixels of the frame.

use serde::{Deserialize, Serialize};

/// An axis-aligned box in pixels of the frame; may reach outside of it. `left < right`, `top < bottom`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FaceBox {
    /// x of the left edge.
    pub left: f32,
    /// y of the upper edge.
    pub top: f32,
    /// x of the right edge.
    pub right: f32,
    /// y of the lower edge.
    pub bottom: f32,
}

impl FaceBox {
    /// Width in pixels.
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    /// Height in pixels.
    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    /// Area in square pixels; 0 for an empty box.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    /// The centre, `[x, y]` in pixels.
    pub fn centre(&self) -> [f32; 2] {
        [
            f32::midpoint(self.left, self.right),
            f32::midpoint(self.top, self.bottom),
        ]
    }

    /// Intersection over union with another box, 0 to 1.
    pub fn iou(&self, other: &Self) -> f32 {
        let overlap = Self {
            left: self.left.max(other.left),
            top: self.top.max(other.top),
            right: self.right.min(other.right),
            bottom: self.bottom.min(other.bottom),
        }
        .area();
        let union = self.area() + other.area() - overlap;
        if union > 0.0 { overlap / union } else { 0.0 }
    }
}

/// Five points `[x, y]` in pixels of the frame: left eye, right eye, nose, left and right corner of the mouth,
/// left and right as the viewer sees them.
pub type Landmarks = [[f32; 2]; 5];

/// A face found in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Face {
    /// Where it is.
    pub box_in_frame: FaceBox,
    /// The detector's own probability that this is a face, 0 to 1.
    pub probability: f32,
    /// Where its eyes, nose and mouth are.
    pub landmarks: Landmarks,
}

/// The face that a photo is about: the largest, with a penalty of twice the squared distance from the centre of the
/// picture, so that a passer-by at the edge has to be much larger.
pub fn most_prominent(faces: &[Face], width_px: u32, height_px: u32) -> Option<Face> {
    #[expect(clippy::cast_precision_loss, reason = "sides of pictures")]
    let middle = [width_px as f32 / 2.0, height_px as f32 / 2.0];
    let prominence = |face: &Face| {
        let [x, y] = face.box_in_frame.centre();
        face.box_in_frame.area() - 2.0 * ((x - middle[0]).powi(2) + (y - middle[1]).powi(2))
    };
    faces
        .iter()
        .max_by(|a, b| prominence(a).total_cmp(&prominence(b)))
        .copied()
}
