//! Each operation of a description, as it is written, against a computation that is as plain as its definition.

use kith_export::nets::graph::{Graph, Input, MaxPool, Op, Pads, Value};
use kith_export::nets::head;
use kith_export::onnx::{write, write_as_described};
use kith_export::weights::{Tensor, Weights};

use crate::running::{Numbers, run, session};

/// `[batch, channels, height, width]`, no side like another.
const SHAPE: [usize; 4] = [2, 7, 9, 8];

fn at(channel: usize, y: usize, x: usize) -> usize {
    (channel * SHAPE[2] + y) * SHAPE[3] + x
}

/// Runs a network of that one operation, both as described and as rewritten, and holds it against `wanted`, which
/// computes one picture.
#[track_caller]
fn check(op: Op, weights: &[(&str, Vec<f32>)], axes: [usize; 3], wanted: &dyn Fn(&[f32]) -> Vec<f32>) {
    let [_, channels, height, width] = SHAPE;
    let mut g = Graph::new(
        "one",
        "One operation",
        Input::Image {
            height: Some(height),
            width: Some(width),
        },
    );
    // The input is an image of three channels, so a convolution has to make more of them.
    let stem = kith_export::nets::graph::Conv::plain(3, channels, 1);
    let x = g.node("stem", Op::Conv(stem), &[Value::INPUT]);
    let y = g.node("op", op, &[x]);
    g.output("before", x, &[Some(channels), Some(height), Some(width)]);
    g.output("after", y, &axes.map(Some));
    let mut all: Weights = weights
        .iter()
        .map(|(suffix, values)| {
            let tensor = Tensor {
                shape: vec![values.len()],
                values: values.clone(),
            };
            (format!("op.{suffix}"), tensor)
        })
        .collect();
    let mut numbers = Numbers(11);
    for (name, shape) in [("stem.weight", vec![channels, 3, 1, 1]), ("stem.bias", vec![channels])] {
        let values = numbers.take(shape.iter().product());
        // Large enough that a tenth of a norm's effect is far above rounding.
        let values = values.into_iter().map(|value| value * 40.0).collect();
        all.insert(name.to_owned(), Tensor { shape, values });
    }
    let image = numbers.take(SHAPE[0] * 3 * height * width);
    let described = write_as_described(&g, &all).unwrap();
    for onnx in [described, write(&g, &all, &[]).unwrap()] {
        let Some(mut session) = session(&onnx) else { return };
        let shape = [SHAPE[0], 3, height, width];
        let (_, before) = run(&mut session, "image", "before", &shape, &image);
        let (_, after) = run(&mut session, "image", "after", &shape, &image);
        let wanted: Vec<f32> = before.chunks(channels * height * width).flat_map(wanted).collect();
        assert_eq!(after.len(), wanted.len());
        for (place, (got, wanted)) in after.iter().zip(&wanted).enumerate() {
            let apart = (got - wanted).abs();
            assert!(
                apart <= 1e-5 * wanted.abs().max(1.0),
                "{place}: {got} instead of {wanted}"
            );
        }
    }
}

/// All places of the output of a window operation, each with the rows and columns of its window inside the picture.
fn windows(
    [channels, height, width]: [usize; 3],
    kernel: usize,
    stride: usize,
    pad: usize,
    of: &dyn Fn(Vec<usize>) -> f32,
) -> Vec<f32> {
    let inside = |start: usize, length: usize| {
        let window = start * stride..start * stride + kernel;
        window
            .filter_map(move |place| place.checked_sub(pad).filter(|&place| place < length))
            .collect::<Vec<_>>()
    };
    let mut values = Vec::new();
    for channel in 0..channels {
        for y in 0..height {
            for x in 0..width {
                let rows = inside(y, SHAPE[2]);
                let columns = inside(x, SHAPE[3]);
                let places = rows
                    .iter()
                    .flat_map(|&row| columns.iter().map(move |&column| at(channel, row, column)));
                values.push(of(places.collect()));
            }
        }
    }
    values
}

#[test]
fn local_response_norm_divides_by_the_power_of_near_channels() {
    for (size, alpha, beta, bias) in [(5, 1e-4, 0.75, 1.0), (3, 0.02, 0.75, 2.0), (5, 0.02, 0.6, 1.0)] {
        let op = Op::LocalResponseNorm {
            size,
            alpha,
            beta,
            bias,
        };
        check(op, &[], [7, 9, 8], &|before| {
            let mut after = before.to_vec();
            for channel in 0..SHAPE[1] {
                for place in 0..SHAPE[2] * SHAPE[3] {
                    let near = channel.saturating_sub(size / 2)..(channel + size / 2 + 1).min(SHAPE[1]);
                    let sum: f64 = near.map(|near| f64::from(before[at(near, 0, 0) + place]).powi(2)).sum();
                    let size = f64::from(u32::try_from(size).unwrap());
                    let power = (f64::from(bias) + f64::from(alpha) / size * sum).powf(f64::from(beta));
                    after[at(channel, 0, 0) + place] = single(f64::from(before[at(channel, 0, 0) + place]) / power);
                }
            }
            after
        });
    }
}

#[expect(clippy::cast_possible_truncation, reason = "what the network gives is f32")]
fn single(value: f64) -> f32 {
    value as f32
}

#[test]
fn max_pools_with_padding_and_to_the_floor() {
    for (kernel, stride, pad, ceil, height, width) in [
        (3, 2, 1, false, 5, 4),
        (3, 2, 0, false, 4, 3),
        (3, 2, 0, true, 4, 4),
        (2, 2, 0, true, 5, 4),
    ] {
        let pool = MaxPool {
            kernel,
            stride,
            pad,
            ceil,
        };
        check(Op::MaxPool(pool), &[], [7, height, width], &|before| {
            windows([7, height, width], kernel, stride, pad, &|places| {
                places.iter().map(|&place| before[place]).fold(f32::MIN, f32::max)
            })
        });
    }
}

#[test]
fn mean_and_l2_pools_leave_windows_over_the_edge_out() {
    check(Op::AvgPool { kernel: 3, stride: 2 }, &[], [7, 4, 3], &|before| {
        windows([7, 4, 3], 3, 2, 0, &|places| {
            single(places.iter().map(|&place| f64::from(before[place])).sum::<f64>() / 9.0)
        })
    });
    for (kernel, stride, height, width) in [(3, 3, 3, 2), (2, 1, 8, 7)] {
        let pool = Op::L2Pool { kernel, stride };
        check(pool, &[], [7, height, width], &|before| {
            windows([7, height, width], kernel, stride, 0, &|places| {
                let squares = places.iter().map(|&place| f64::from(before[place]).powi(2));
                single(squares.sum::<f64>().sqrt())
            })
        });
    }
}

#[test]
fn batch_norm_uses_the_running_statistics() {
    let mut numbers = Numbers(5);
    let [weight, bias, mean, variance] = [(); 4].map(|()| numbers.take(7));
    let variance: Vec<f32> = variance.iter().map(|value| value.abs() * 9.0).collect();
    let norm = Op::BatchNorm {
        channels: 7,
        epsilon: 0.25,
    };
    let weights = [
        ("weight", weight.clone()),
        ("bias", bias.clone()),
        ("running_mean", mean.clone()),
        ("running_var", variance.clone()),
    ];
    check(norm, &weights, [7, 9, 8], &|before| {
        let places = before.iter().enumerate();
        let normed = places.map(|(place, &value)| {
            let channel = place / (SHAPE[2] * SHAPE[3]);
            (value - mean[channel]) / (variance[channel] + 0.25).sqrt() * weight[channel] + bias[channel]
        });
        normed.collect()
    });
}

#[test]
fn pads_with_zeros_and_cuts_below_zero() {
    check(Op::Pad(Pads { before: 1, after: 2 }), &[], [7, 12, 11], &|before| {
        let mut after = vec![0.0; 7 * 12 * 11];
        for channel in 0..7 {
            for y in 0..9 {
                for x in 0..8 {
                    after[(channel * 12 + y + 1) * 11 + x + 1] = before[at(channel, y, x)];
                }
            }
        }
        after
    });
    check(Op::Relu, &[], [7, 9, 8], &|before| {
        before.iter().map(|value| value.max(0.0)).collect()
    });
}

/// The head is a dense layer; behind it, here, what the embedders do at their end.
#[test]
fn a_head_takes_a_vector_and_unit_length_has_no_trouble_with_zeros() {
    let mut g = head(5, 3);
    let logits = Value::of_node(0);
    let unit = g.node("unit", Op::L2Normalise { epsilon: 1e-6 }, &[logits]);
    let twice = g.node("twice", Op::Concat, &[logits, unit]);
    g.output("both", twice, &[Some(6)]);
    let mut numbers = Numbers(9);
    let mut tensor = |shape: &[usize]| Tensor {
        shape: shape.to_vec(),
        values: numbers.take(shape.iter().product()),
    };
    let (weight, bias) = (tensor(&[3, 5]), tensor(&[3]));
    for bias in [vec![0.0; 3], bias.values] {
        let bias = Tensor {
            shape: vec![3],
            values: bias,
        };
        let weights = Weights::from([
            ("linear.weight".to_owned(), weight.clone()),
            ("linear.bias".to_owned(), bias.clone()),
        ]);
        let Some(mut session) = session(&write(&g, &weights, &[]).unwrap()) else {
            return;
        };
        let mut features = Numbers(2).take(10);
        features[5..].fill(0.0);
        let (shape, both) = run(&mut session, "features", "both", &[2, 5], &features);
        assert_eq!(shape, [2, 6]);
        let (_, logits) = run(&mut session, "features", "logits", &[2, 5], &features);
        for (row, both) in both.chunks(6).enumerate() {
            let dense: Vec<f32> = (0..3)
                .map(|output| {
                    let products = (0..5).map(|input| weight.values[output * 5 + input] * features[row * 5 + input]);
                    products.sum::<f32>() + bias.values[output]
                })
                .collect();
            let length = (dense.iter().map(|value| value * value).sum::<f32>() + 1e-6).sqrt();
            for output in 0..3 {
                assert!((logits[row * 3 + output] - dense[output]).abs() < 1e-6);
                assert!((both[output] - dense[output]).abs() < 1e-6);
                assert!((both[3 + output] - dense[output] / length).abs() < 1e-5);
            }
        }
    }
}
