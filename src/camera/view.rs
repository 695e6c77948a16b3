//! What of a camera's pictures is looked at: masks and zones, and not a still picture again and again.

use std::sync::Arc;
use std::time::Instant;

use image::{GrayImage, Luma, RgbImage};
use imageproc::drawing::draw_polygon_mut;
use imageproc::point::Point;

use super::motion::{Live, Motion};
use crate::detect::FaceBox;

/// A polygon's corners as fractions of the frame's width and height, 0 to 1; at least three.
pub type Polygon = Vec<[f64; 2]>;

/// A named part of the picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone {
    /// As events name it.
    pub name: Arc<str>,
    /// Where it is.
    pub polygon: Polygon,
}

/// What the configuration says about the picture of a camera.
#[derive(Debug, Clone, PartialEq)]
pub struct ViewSettings {
    /// Named parts.
    pub zones: Vec<Zone>,
    /// Parts that are not looked at.
    pub masks: Vec<Polygon>,
    /// Whether faces outside of all zones are not looked at.
    pub only_zones: bool,
    /// Whether a still picture is left alone.
    pub motion: bool,
}

/// The side of the grid that polygons are drawn on. A cell of a 1080p picture is 15 by 8 pixels, less than the error
/// of a detected box.
const GRID: u32 = 128;

/// A part of the picture as cells.
#[derive(Debug, Clone)]
struct Cells(GrayImage);

impl Cells {
    fn of(polygons: &[Polygon]) -> Self {
        let mut cells = GrayImage::new(GRID, GRID);
        for polygon in polygons {
            let mut corners: Vec<Point<i32>> = polygon
                .iter()
                .map(|corner| Point::new(cell(corner[0]), cell(corner[1])))
                .collect();
            // The same corner twice at the end would be refused.
            while corners.len() > 1 && corners.first() == corners.last() {
                corners.pop();
            }
            corners.dedup();
            if corners.len() >= 3 {
                draw_polygon_mut(&mut cells, &corners, Luma([255]));
            }
        }
        Self(cells)
    }

    /// Whether the point, in fractions of the frame, is inside.
    fn hold(&self, [x, y]: [f64; 2]) -> bool {
        let within = |value: f64| u32::try_from(cell(value)).unwrap_or(0).min(GRID - 1);
        self.0.get_pixel(within(x), within(y)).0[0] > 0
    }
}

#[expect(clippy::cast_possible_truncation, reason = "clamped to the grid")]
fn cell(fraction: f64) -> i32 {
    (fraction * f64::from(GRID)).floor().clamp(0.0, f64::from(GRID - 1)) as i32
}

/// Where faces count, and the names of those places. Without masks and zones, everywhere.
#[derive(Debug, Default)]
pub struct View {
    masked: Option<Cells>,
    zones: Vec<(Arc<str>, Cells)>,
    only_zones: bool,
}

impl View {
    /// Draws what `settings` say.
    pub fn new(settings: &ViewSettings) -> Self {
        let masked = (!settings.masks.is_empty()).then(|| Cells::of(&settings.masks));
        let zones: Vec<(Arc<str>, Cells)> = settings
            .zones
            .iter()
            .map(|zone| (Arc::clone(&zone.name), Cells::of(std::slice::from_ref(&zone.polygon))))
            .collect();
        Self {
            masked,
            zones,
            only_zones: settings.only_zones,
        }
    }

    /// Whether what is at `place`, in fractions of the frame, counts.
    fn counts(&self, place: [f64; 2]) -> bool {
        !self.masked.as_ref().is_some_and(|masked| masked.hold(place))
            && (!self.only_zones || self.zones.iter().any(|(_, zone)| zone.hold(place)))
    }

    /// Whether a face in a frame of `size` (width and height in pixels) is looked at: its middle is in no mask, and in a
    /// zone where only those count.
    pub fn admits(&self, face: &FaceBox, size: (u32, u32)) -> bool {
        self.counts(middle(face, size))
    }

    /// The zones that the face's middle is in, in the order of the configuration. Zones may overlap.
    pub fn zones(&self, face: &FaceBox, size: (u32, u32)) -> Vec<Arc<str>> {
        let middle = middle(face, size);
        let inside = self.zones.iter().filter(|(_, zone)| zone.hold(middle));
        inside.map(|(name, _)| Arc::clone(name)).collect()
    }
}

/// Decides which frames of a camera are searched: not a still picture again and again. Owned by the camera's worker,
/// since it remembers the picture.
#[derive(Debug)]
pub struct Gate {
    view: Arc<View>,
    /// `None` where every frame is searched.
    motion: Option<Motion>,
}

impl Gate {
    /// A gate for a camera that sees `view`; one without `motion` lets everything through.
    pub fn new(view: Arc<View>, motion: bool) -> Self {
        Self {
            view,
            motion: motion.then(Motion::default),
        }
    }

    /// Whether a frame that was captured at `at` is to be searched: something moved where it counts, or it is time to
    /// look again. To be asked about every frame.
    pub fn look(&mut self, pixels: &RgbImage, at: Instant, live: Live) -> bool {
        let Some(motion) = &mut self.motion else { return true };
        motion.look(pixels, at, live, |place| self.view.counts(place))
    }
}

/// The middle of a face, as fractions of the frame.
fn middle(face: &FaceBox, (width, height): (u32, u32)) -> [f64; 2] {
    let [x, y] = face.centre();
    [
        f64::from(x) / f64::from(width.max(1)),
        f64::from(y) / f64::from(height.max(1)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ViewSettings {
        ViewSettings {
            zones: Vec::new(),
            masks: Vec::new(),
            only_zones: false,
            motion: false,
        }
    }

    fn zone(name: &str, polygon: &[[f64; 2]]) -> Zone {
        Zone {
            name: name.into(),
            polygon: polygon.to_vec(),
        }
    }

    /// A face of 50 pixels with its middle there, in a frame of 1000 by 500 pixels.
    fn face(x: f32, y: f32) -> FaceBox {
        FaceBox {
            left: x - 25.0,
            top: y - 25.0,
            right: x + 25.0,
            bottom: y + 25.0,
        }
    }

    const SIZE: (u32, u32) = (1000, 500);
    const LEFT_HALF: [[f64; 2]; 4] = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]];
    const TRIANGLE: [[f64; 2]; 3] = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]];

    #[test]
    fn a_face_in_a_mask_is_not_looked_at() {
        let view = View::new(&ViewSettings {
            masks: vec![LEFT_HALF.to_vec()],
            ..settings()
        });
        assert!(!view.admits(&face(300.0, 250.0), SIZE));
        assert!(view.admits(&face(700.0, 250.0), SIZE));
    }

    #[test]
    fn a_face_is_in_every_zone_around_its_middle() {
        let view = View::new(&ViewSettings {
            zones: vec![zone("left", &LEFT_HALF), zone("corner", &TRIANGLE)],
            ..settings()
        });
        let named = |x, y| {
            view.zones(&face(x, y), SIZE)
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(named(100.0, 100.0), ["left", "corner"]);
        assert_eq!(named(400.0, 450.0), ["left"]);
        assert_eq!(named(600.0, 50.0), ["corner"]);
        assert!(named(900.0, 450.0).is_empty());
        assert!(view.admits(&face(900.0, 450.0), SIZE), "zones alone hide nothing");
    }

    #[test]
    fn only_zones_hides_the_rest() {
        let view = View::new(&ViewSettings {
            zones: vec![zone("left", &LEFT_HALF)],
            only_zones: true,
            ..settings()
        });
        assert!(view.admits(&face(100.0, 100.0), SIZE));
        assert!(!view.admits(&face(900.0, 100.0), SIZE));
    }

    #[test]
    fn a_face_that_reaches_out_of_the_frame_counts_at_its_edge() {
        let view = View::new(&ViewSettings {
            zones: vec![zone("left", &LEFT_HALF)],
            ..settings()
        });
        assert_eq!(view.zones(&face(-5.0, 600.0), SIZE).len(), 1);
        assert!(view.zones(&face(f32::NAN, 0.0), (0, 0)).len() <= 1);
    }

    #[test]
    fn polygons_without_an_area_are_harmless() {
        for polygon in [vec![], vec![[0.5, 0.5]; 4], vec![[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]] {
            let view = View::new(&ViewSettings {
                masks: vec![polygon],
                ..settings()
            });
            assert!(view.admits(&face(700.0, 100.0), SIZE));
        }
    }
}
