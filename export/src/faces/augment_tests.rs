//! Each part does what it says, and nothing else.

use std::time::Instant;

use image::{Rgb, imageops};
use rand::SeedableRng as _;

use super::*;

const ALIGNMENTS: [Alignment; 3] = Alignment::ALL;

/// Soft stripes and a ramp, with an own look in each direction and channel.
fn cut(alignment: Alignment) -> RgbImage {
    let side = alignment.cut().side_px();
    RgbImage::from_fn(side, side, |x, y| {
        let wave = (f64::from(x) / 7.0).sin() * 40.0 + (f64::from(y) / 11.0).cos() * 30.0;
        Rgb([100.0 + wave, 60.0 + f64::from(x) * 0.8, 200.0 - f64::from(y) * 0.7].map(|value| value as u8))
    })
}

fn look(alignment: Alignment, settings: &Augmentation, seed: u64) -> RgbImage {
    augmented(&cut(alignment), alignment, settings, &mut StdRng::seed_from_u64(seed))
}

fn apart(a: &RgbImage, b: &RgbImage) -> f64 {
    assert_eq!(a.dimensions(), b.dimensions());
    let sum: u64 = a
        .as_raw()
        .iter()
        .zip(b.as_raw())
        .map(|(a, b)| u64::from(a.abs_diff(*b)))
        .sum();
    sum as f64 / a.as_raw().len() as f64
}

fn mean(face: &RgbImage) -> f64 {
    face.as_raw().iter().map(|value| f64::from(*value)).sum::<f64>() / face.as_raw().len() as f64
}

/// Mean difference of neighbours in a row.
fn detail(face: &RgbImage) -> f64 {
    let rows = face.as_raw().chunks_exact(face.width() as usize * 3);
    let steps = rows.flat_map(|row| row.iter().zip(&row[3..]).map(|(a, b)| f64::from(a.abs_diff(*b))));
    steps.sum::<f64>() / face.as_raw().len() as f64
}

#[test]
fn off_is_what_serving_sees() {
    for alignment in ALIGNMENTS {
        for seed in 0..20 {
            assert_eq!(
                look(alignment, &Augmentation::OFF, seed),
                alignment.finish(&cut(alignment))
            );
        }
    }
}

#[test]
fn a_seed_is_a_look() {
    for alignment in ALIGNMENTS {
        let [one, again, other] = [1, 1, 2].map(|seed| look(alignment, &Augmentation::USUAL, seed));
        assert_eq!(one, again);
        assert_ne!(one, other);
        assert_eq!(one.dimensions(), (alignment.side_px(), alignment.side_px()));
    }
}

#[test]
fn the_parts_do_what_they_say() {
    let alignment = Alignment::Box96;
    let plain = alignment.finish(&cut(alignment));
    let off = Augmentation::OFF;

    let mirrored = look(alignment, &Augmentation { mirror: 1.0, ..off }, 3);
    assert_eq!(mirrored, imageops::flip_horizontal(&plain));

    let grey = look(alignment, &Augmentation { grey: 1.0, ..off }, 3);
    assert!(grey.pixels().all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]));
    assert!(apart(&grey, &plain) > 5.0);

    let blur = Augmentation {
        blur: 1.0,
        blur_sigma_px: 5.0,
        ..off
    };
    let details = (0..20).map(|seed| detail(&look(alignment, &blur, seed)));
    assert!(details.clone().all(|left| left <= detail(&plain)));
    assert!(details.fold(f64::MAX, f64::min) < 0.9 * detail(&plain));
    assert!((mean(&look(alignment, &blur, 3)) - mean(&plain)).abs() < 1.0);

    let jpeg = Augmentation {
        jpeg: 1.0,
        jpeg_quality: [30, 30],
        ..off
    };
    let jpeg = look(alignment, &jpeg, 3);
    assert!((0.2..8.0).contains(&apart(&jpeg, &plain)), "{}", apart(&jpeg, &plain));
}

#[test]
fn brightness_and_contrast_go_both_ways_and_no_farther() {
    let alignment = Alignment::FivePoint112;
    let plain = mean(&alignment.finish(&cut(alignment)));
    let settings = Augmentation {
        brightness: 0.1,
        ..Augmentation::OFF
    };
    let means: Vec<f64> = (0..100)
        .map(|seed| mean(&look(alignment, &settings, seed)) - plain)
        .collect();
    let (least, most) = (
        means.iter().copied().fold(0.0, f64::min),
        means.iter().copied().fold(0.0, f64::max),
    );
    assert!(
        (-26.0..-15.0).contains(&least) && (15.0..26.0).contains(&most),
        "{least} {most}"
    );

    let mut face = RgbImage::from_fn(2, 1, |x, _| Rgb([[60; 3], [190; 3]][x as usize]));
    relight(&mut face, 0.0, 2.0);
    assert_eq!(face.into_raw(), [0, 0, 0, 253, 253, 253]);
}

/// Where the bright dot of a dark picture is, on average.
fn dot(face: &RgbImage) -> [f64; 2] {
    let (mut sum, mut at) = (0.0, [0.0; 2]);
    for (x, y, pixel) in face.enumerate_pixels() {
        let weight = f64::from(pixel[1]);
        sum += weight;
        at = [at[0] + weight * f64::from(x), at[1] + weight * f64::from(y)];
    }
    at.map(|along| along / sum)
}

#[test]
fn moving_goes_where_the_formula_says() {
    // A dot 30 px to the right of the middle.
    let picture = RgbImage::from_fn(101, 101, |x, y| {
        let from_dot = (f64::from(x) - 80.0).hypot(f64::from(y) - 50.0);
        Rgb([(255.0 * (-from_dot * from_dot / 8.0).exp()) as u8; 3])
    });
    let still = Drawn {
        is_mirrored: false,
        shift: [0.0; 2],
        scale: 1.0,
        turn_degrees: 0.0,
        brightness: 0.0,
        contrast: 1.0,
        is_grey: false,
        blur_sigma_px: None,
        jpeg_quality: None,
    };
    assert!(!still.moves());
    for (drawn, [x, y]) in [
        (
            Drawn {
                shift: [0.1, -0.2],
                ..still
            },
            [90.1, 29.8],
        ),
        (Drawn { scale: 1.2, ..still }, [86.0, 50.0]),
        // Positive is clockwise, as pixels count downwards.
        (
            Drawn {
                turn_degrees: 30.0,
                ..still
            },
            [50.0 + 30.0 * 0.866, 50.0 + 15.0],
        ),
    ] {
        let [found_x, found_y] = dot(&moved(&picture, &drawn));
        assert!(
            (found_x - x).abs() < 0.2 && (found_y - y).abs() < 0.2,
            "{found_x} {found_y}, not {x} {y}"
        );
    }
}

#[test]
fn values_out_of_their_range_are_named() {
    let usual = Augmentation::USUAL;
    usual.check().unwrap();
    for (settings, name) in [
        (Augmentation { mirror: 1.5, ..usual }, "mirror is 1.5"),
        (
            Augmentation {
                blur_sigma_px: f32::NAN,
                ..usual
            },
            "blur_sigma_px",
        ),
        (
            Augmentation {
                jpeg_quality: [90, 40],
                ..usual
            },
            "jpeg_quality",
        ),
    ] {
        let error = settings.check().unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
#[ignore = "a measurement: prints microseconds for each face"]
fn how_long_a_look_takes() {
    let all = Augmentation {
        mirror: 1.0,
        grey: 1.0,
        blur: 1.0,
        jpeg: 1.0,
        ..Augmentation::USUAL
    };
    for (name, settings) in [("off", Augmentation::OFF), ("usual", Augmentation::USUAL), ("all", all)] {
        for alignment in ALIGNMENTS {
            let (cut, mut random) = (cut(alignment), StdRng::seed_from_u64(1));
            let began = Instant::now();
            for _ in 0..1000 {
                std::hint::black_box(augmented(&cut, alignment, &settings, &mut random));
            }
            println!(
                "{name:6} {:20} {:6.0} us",
                alignment.name(),
                began.elapsed().as_secs_f64() * 1e3
            );
        }
    }
}
