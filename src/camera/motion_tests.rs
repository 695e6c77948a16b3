use image::Rgb;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const SIZE: (u32, u32) = (1280, 720);
const EVERYWHERE: fn([f64; 2]) -> bool = |_| true;

/// A scene with some texture, a square of `side` pixels and `grey` at `x`, and noise of `noise` grey levels (uniform
/// to both sides), as an amplified sensor makes it.
fn scene(x: u32, side: u32, grey: u8, noise: i16, seed: u64) -> RgbImage {
    let mut random = StdRng::seed_from_u64(seed);
    RgbImage::from_fn(SIZE.0, SIZE.1, |px, py| {
        let texture = 90 + i16::try_from((px / 40 + py / 30) % 8).unwrap() * 10;
        let inside = (x..x + side).contains(&px) && (300..300 + side).contains(&py);
        let value = if inside { i16::from(grey) } else { texture };
        let value = if noise == 0 {
            value
        } else {
            value + random.random_range(-noise..=noise)
        };
        Rgb([u8::try_from(value.clamp(0, 255)).unwrap(); 3])
    })
}

/// Plays frames, ten a second; returns which were looked at.
fn looks(frames: impl Iterator<Item = RgbImage>, live: Live) -> Vec<bool> {
    let start = Instant::now();
    let mut motion = Motion::default();
    frames
        .enumerate()
        .map(|(index, frame)| {
            let at = start + Duration::from_millis(100) * u32::try_from(index).unwrap();
            motion.look(&frame, at, live, EVERYWHERE)
        })
        .collect()
}

fn count(looks: &[bool]) -> usize {
    looks.iter().filter(|look| **look).count()
}

#[test]
fn a_still_scene_is_looked_at_now_and_then() {
    let looks = looks((0..100).map(|_| scene(0, 0, 0, 0, 0)), Live::Nobody);
    // The first second and a half, since the first picture is new, then every three seconds.
    assert_eq!(count(&looks[..15]), 15);
    assert_eq!(count(&looks[15..]), 2, "{looks:?}");
}

/// 30 levels to both sides, more than a cheap sensor shows at night: each pixel is off by 17 on average, the mean of a
/// cell by 1.7.
#[test]
fn noise_is_no_movement() {
    let looks = looks((0..60).map(|seed| scene(0, 0, 0, 30, seed)), Live::Nobody);
    assert!(count(&looks[15..]) <= 2, "{looks:?}");
}

/// The smallest face that is looked for by default, a little lighter than what is behind it, at a step of two pixels
/// each tenth of a second: some 10 cm a second, far slower than anybody walks.
#[test]
fn a_small_slow_face_in_noise_is_a_movement() {
    let walk = (0..80).map(|index| scene(200 + 2 * index, 40, 170, 10, u64::from(index)));
    let looks = looks(walk, Live::Nobody);
    assert_eq!(count(&looks[30..]), 50, "{looks:?}");
}

#[test]
fn light_that_changes_everywhere_is_no_movement() {
    let dawn = (0..100_u8).map(|index| {
        let mut frame = scene(0, 0, 0, 0, 0);
        for value in frame.iter_mut() {
            *value = value.saturating_add(index / 2);
        }
        frame
    });
    let looks = looks(dawn, Live::Nobody);
    assert!(count(&looks[15..]) <= 2, "{looks:?}");
}

#[test]
fn a_face_that_stands_still_stays_tracked() {
    let still = || (0..60).map(|_| scene(300, 60, 200, 0, 0));
    let settled = looks(still(), Live::Settled);
    // Twice a second: a track is lost after one and a half.
    assert_eq!(count(&settled[20..]), 8, "{settled:?}");
    assert_eq!(count(&looks(still(), Live::Undecided)), 60);
}

#[test]
fn a_movement_in_a_mask_does_not_count() {
    let start = Instant::now();
    let mut motion = Motion::default();
    let mut looked = 0;
    for index in 0..60_u32 {
        let frame = scene(100 + 5 * index, 60, 220, 0, 0);
        let at = start + Duration::from_millis(100) * index;
        // All that moves is in the left half.
        looked += usize::from(motion.look(&frame, at, Live::Nobody, |[x, _]| x > 0.5) && index >= 15);
    }
    assert!(looked <= 2, "{looked}");
}

#[test]
fn another_size_is_looked_at() {
    let frames = (0..40).map(|index| match index {
        0..30 => RgbImage::new(640, 480),
        _ => RgbImage::new(480, 640),
    });
    let looks = looks(frames, Live::Nobody);
    assert!(looks[30]);
    assert!(!looks[29]);
}

#[test]
fn pictures_of_any_size_do_no_harm() {
    for (width, height) in [(1, 1), (3, 2), (5, 700), (1921, 1081), (63, 64)] {
        let frames = (0..3).map(|_| RgbImage::new(width, height));
        assert_eq!(looks(frames, Live::Nobody).len(), 3);
    }
}

/// The limit is far above what it takes, since tests run unoptimised beside each other; the time is printed.
#[test]
fn a_look_costs_next_to_nothing() {
    let frame = scene(100, 60, 220, 10, 1);
    let mut motion = Motion::default();
    let began = Instant::now();
    for _ in 0..100 {
        motion.look(&frame, Instant::now(), Live::Nobody, EVERYWHERE);
    }
    let each = began.elapsed() / 100;
    println!("a look at 1280x720 costs {each:?}");
    assert!(each < Duration::from_millis(20));
}
