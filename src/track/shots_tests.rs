use jiff::Timestamp;
use ulid::Ulid;

use super::*;
use crate::gallery::{Name, Person, Vectors};
use crate::identify::GalleryMatcher;
use crate::identify::tests::{CALIBRATION, THRESHOLDS};

fn unit(raw: [f32; 3]) -> Embedding {
    Embedding::from_raw(&raw).unwrap()
}

/// At this cosine similarity to Alice, who is (1, 0, 0); Bob is (0, 1, 0). `aside` says which way the rest points.
fn like_alice(cosine: f32, aside: [f32; 2]) -> Embedding {
    let rest = (1.0 - cosine * cosine).sqrt();
    unit([cosine, rest * aside[0], rest * aside[1]])
}

/// Whom each of these shots names, all kept by one track.
fn named(embeddings: &[Embedding]) -> Vec<Option<String>> {
    let person = |id: &str, face: [f32; 3]| Vectors {
        person: Person::new(id, Ulid::from(id.len() as u128), Name::parse(id).unwrap()),
        faces: vec![unit(face)],
        negatives: Vec::new(),
    };
    let everybody = vec![person("alice", [1.0, 0.0, 0.0]), person("bob", [0.0, 1.0, 0.0])];
    let matcher = GalleryMatcher::new(everybody, THRESHOLDS, CALIBRATION);
    let face = Face {
        box_in_frame: FaceBox {
            left: 0.0,
            top: 0.0,
            right: 100.0,
            bottom: 120.0,
        },
        probability: 1.0,
        landmarks: [[0.0; 2]; 5],
    };
    let quality = Quality {
        size_px: 120.0,
        sharpness: 0.6,
        yaw_degrees: 0.0,
        probability: 1.0,
    };
    let at = CapturedAt {
        monotonic: Instant::now(),
        wall: Timestamp::UNIX_EPOCH,
    };
    let mut shots = Shots::default();
    for embedding in embeddings {
        let taken = ShotTaken::new(&face, quality, at, (640, 480));
        shots.keep(taken, embedding.clone().into());
    }
    let identified = shots.identified(|embedded| matcher.identify(&embedded.embedding));
    let name = |shot: Shot| shot.answer.person().map(|person| person.id.clone());
    identified.into_iter().map(name).collect()
}

/// The threshold is 0.4. Two shots whose rests point to different sides are nearer to Alice together than each alone.
#[test]
fn what_is_near_alone_settles_what_is_nearly_near() {
    let (near, nearly) = (like_alice(0.45, [0.0, 1.0]), like_alice(0.38, [0.0, -1.0]));
    let alice = Some("alice".to_owned());
    assert_eq!(named(&[near.clone(), nearly.clone()]), [alice.clone(), alice.clone()]);
    // Nobody is named whom no shot alone names.
    assert_eq!(named(&[nearly.clone(), nearly.clone()]), [None, None]);
    assert_eq!(named(&[nearly, like_alice(0.38, [0.0, 1.0])]), [None, None]);
    // Who is nearer to Bob is not settled for Alice, and who is far from her keeps her from being named for others.
    let nearer_to_bob = unit([0.1, 0.38, -0.92]);
    assert_eq!(named(&[near.clone(), nearer_to_bob]), [alice.clone(), None]);
    let far = like_alice(-0.5, [0.0, -1.0]);
    assert_eq!(named(&[near, far]), [alice, None]);
}
