//! Lays embeddings out in a plane: t-SNE (van der Maaten and Hinton, 2008).

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::measure::Sample;

/// Up to here every pair is computed; beyond, far points are taken together (Barnes-Hut).
const EXACT: usize = 1000;
/// How far is far: a cell's width by its distance. The usual value.
const THETA: f32 = 0.5;
/// About how many neighbours a point has.
const PERPLEXITY: f32 = 20.0;
/// Width of the cloud that the points begin in, so small that no point begins on the wrong side of another group.
const BEGIN: f32 = 1e-4;

/// Why there is no plane.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// Too few faces to have neighbours.
    #[error("a map of embeddings needs at least 4 faces, and there are {0}")]
    TooFew(usize),
    /// No thread to compute on.
    #[error("can't start the thread that lays out the map: {0}")]
    Thread(#[from] rayon::ThreadPoolBuildError),
}

/// A place in the plane for each sample, in 0 to 1 both ways; neighbours by squared distance of the embeddings stay
/// near each other, distances between groups and the axes mean nothing.
///
/// The same seed gives the same plane on one machine: bhtsne itself can't be seeded, but takes the points to begin
/// from, and its sums run on one thread, so that their order never changes.
///
/// # Errors
/// With fewer than 4 samples.
pub fn plane(samples: &[Sample], seed: u64) -> Result<Vec<[f32; 2]>, PlaneError> {
    if samples.len() < 4 {
        return Err(PlaneError::TooFew(samples.len()));
    }
    let mut random = StdRng::seed_from_u64(seed);
    let begin: Vec<f32> = (0..2 * samples.len())
        .map(|_| random.random_range(-BEGIN..BEGIN))
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "a number of faces")]
    let perplexity = PERPLEXITY.min((samples.len() - 1) as f32 / 3.0);
    let distance = |a: &&Sample, b: &&Sample| (2.0 - 2.0 * a.cosine(b)).max(0.0).sqrt();
    let samples: Vec<&Sample> = samples.iter().collect();
    let flat = rayon::ThreadPoolBuilder::new().num_threads(1).build()?.install(|| {
        let mut tsne = bhtsne::tSNE::<f32, &Sample, 2>::new(&samples);
        tsne.perplexity(perplexity).initial_embedding(begin);
        if samples.len() <= EXACT {
            tsne.exact(distance);
        } else {
            tsne.barnes_hut(THETA, distance);
        }
        tsne.embedding()
    });
    let points = flat.as_chunks::<2>().0;
    let span = |axis: usize| {
        let values = || points.iter().map(move |point| point[axis]);
        (
            values().fold(f32::INFINITY, f32::min),
            values().fold(f32::NEG_INFINITY, f32::max),
        )
    };
    let ((left, right), (bottom, top)) = (span(0), span(1));
    // One scale for both ways, so that groups keep their shape.
    let widest = (right - left).max(top - bottom).max(f32::MIN_POSITIVE);
    Ok(points
        .iter()
        .map(|[x, y]| {
            [
                0.5 + (x - f32::midpoint(left, right)) / widest,
                0.5 + (y - f32::midpoint(bottom, top)) / widest,
            ]
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::super::super::example::samples;
    use super::*;

    #[test]
    fn people_become_groups_and_the_same_seed_gives_the_same_plane() {
        let faces = samples(4, 20, 0.25, 1);
        let points = plane(&faces, 5).unwrap();
        assert_eq!(points, plane(&faces, 5).unwrap());
        assert_ne!(points, plane(&faces, 6).unwrap());
        let squared = |a: [f32; 2], b: [f32; 2]| (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2);
        for (index, point) in points.iter().enumerate() {
            assert!(point.iter().all(|value| (-1e-6..=1.000_001).contains(value)));
            let nearest = (0..points.len())
                .filter(|other| *other != index)
                .min_by(|a, b| squared(points[*a], *point).total_cmp(&squared(points[*b], *point)))
                .unwrap();
            assert_eq!(faces[nearest].person, faces[index].person);
        }
    }

    #[test]
    fn many_points_are_the_same_twice_too() {
        let faces = samples(8, 130, 0.25, 1);
        assert!(faces.len() > EXACT);
        assert_eq!(plane(&faces, 5).unwrap(), plane(&faces, 5).unwrap());
    }

    #[test]
    fn few_and_equal_faces_are_no_trouble() {
        assert!(matches!(plane(&samples(3, 1, 0.1, 1), 1), Err(PlaneError::TooFew(3))));
        let equal = vec![samples(1, 1, 0.1, 1).remove(0); 5];
        assert!(
            plane(&equal, 1)
                .unwrap()
                .iter()
                .flatten()
                .all(|value| value.is_finite())
        );
    }
}
