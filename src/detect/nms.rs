//! Non-maximum suppression: of boxes that overlap too much, the most probable stays.

use super::FaceBox;

/// How much two boxes overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overlap {
    /// Intersection over union of real-valued boxes, as torchvision computes it.
    Union,
    /// Intersection over the smaller one, of boxes that count whole pixels (one more than the difference of their
    /// edges), as MTCNN's last step does.
    SmallerInclusive,
}

impl Overlap {
    fn of(self, a: &FaceBox, b: &FaceBox) -> f32 {
        let extra = if self == Self::SmallerInclusive { 1.0 } else { 0.0 };
        let area = |b: &FaceBox| (b.right - b.left + extra) * (b.bottom - b.top + extra);
        let width = (a.right.min(b.right) - a.left.max(b.left) + extra).max(0.0);
        let height = (a.bottom.min(b.bottom) - a.top.max(b.top) + extra).max(0.0);
        let shared = width * height;
        match self {
            Self::Union => shared / (area(a) + area(b) - shared),
            Self::SmallerInclusive => shared / area(a).min(area(b)),
        }
    }
}

/// Keeps of `items` those that no more probable one overlaps by more than `threshold`; most probable first. Of equally
/// probable ones the first counts as more probable, in MTCNN's last step the last one: so do the reference's sorts.
pub(super) fn suppress<T>(items: &mut Vec<T>, threshold: f32, overlap: Overlap, view: impl Fn(&T) -> (FaceBox, f32)) {
    if overlap == Overlap::SmallerInclusive {
        items.reverse();
    }
    items.sort_by(|a, b| view(b).1.total_cmp(&view(a).1));
    let mut kept: Vec<FaceBox> = Vec::new();
    items.retain(|item| {
        let (candidate, _) = view(item);
        let keep = kept.iter().all(|better| overlap.of(better, &candidate) <= threshold);
        if keep {
            kept.push(candidate);
        }
        keep
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(left: f32, top: f32, right: f32, bottom: f32) -> FaceBox {
        FaceBox {
            left,
            top,
            right,
            bottom,
        }
    }

    #[test]
    fn the_most_probable_of_overlapping_boxes_stays() {
        let mut items = vec![
            (boxed(0.0, 0.0, 10.0, 10.0), 0.8),
            (boxed(1.0, 0.0, 11.0, 10.0), 0.9),
            (boxed(30.0, 30.0, 40.0, 40.0), 0.7),
        ];
        suppress(&mut items, 0.5, Overlap::Union, |item| *item);
        assert_eq!(items.iter().map(|item| item.1).collect::<Vec<_>>(), [0.9, 0.7]);
    }

    #[test]
    fn a_small_box_inside_a_large_one_goes_only_by_the_smaller_area() {
        let items = vec![
            (boxed(0.0, 0.0, 100.0, 100.0), 0.9),
            (boxed(40.0, 40.0, 60.0, 60.0), 0.8),
        ];
        let mut by_union = items.clone();
        suppress(&mut by_union, 0.7, Overlap::Union, |item| *item);
        assert_eq!(by_union.len(), 2);
        let mut by_smaller = items;
        suppress(&mut by_smaller, 0.7, Overlap::SmallerInclusive, |item| *item);
        assert_eq!(by_smaller.len(), 1);
    }
}
