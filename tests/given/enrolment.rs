//! A made-up person, for tests that look at the gallery and not at faces.

use kith::detect::{Face, FaceBox};
use kith::embed::Embedding;
use kith::gallery::{Enrolment, Name, NewFace, Source, Who};
use kith::quality::Quality;

/// A made-up person called `Person NUMBER`, with one face.
pub(crate) fn enrolment(number: u16) -> Enrolment {
    let raw: Vec<f32> = (0..192_u16)
        .map(|i| f32::from(number.wrapping_mul(31).wrapping_add(i * i) % 211) - 105.0)
        .collect();
    let mut source_sha256 = [7; 32];
    source_sha256[..2].copy_from_slice(&number.to_le_bytes());
    let face = NewFace {
        source: Source::Photo(source_sha256),
        face: Face {
            box_in_frame: FaceBox {
                left: 0.0,
                top: 0.0,
                right: 100.0,
                bottom: 130.0,
            },
            probability: 1.0,
            landmarks: [[1.0, 2.0]; 5],
        },
        quality: Quality {
            size_px: 130.0,
            sharpness: 0.6,
            yaw_degrees: 0.0,
            probability: 1.0,
        },
        crop: None,
        embedding: Embedding::from_raw(&raw).unwrap(),
    };
    Enrolment {
        who: Who::New(Name::parse(&format!("Person {number}")).unwrap()),
        role: None,
        faces: vec![face],
    }
}
