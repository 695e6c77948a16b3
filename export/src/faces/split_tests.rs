//! What every split holds, whatever the photos.

use proptest::prelude::*;

use super::*;
use crate::faces::Shot;
use crate::faces::doubles::NEAR;

/// A photo of `person` that looks like `looks`: 0 to 63 are 128 bits or more apart from each other.
fn face(person: usize, number: usize, looks: u8) -> AlignedFace {
    // Rows of a Hadamard matrix: any two differ in half of their bits.
    let bit = |at: u32| (u32::from(looks) & at).count_ones() % 2;
    let byte = |byte: u32| (0..8).fold(0, |bits, at| bits << 1 | bit(byte * 8 + at));
    let hash: String = (0..32).map(|at| format!("{:02x}", byte(at))).collect();
    let file = format!("p{person}/{number}.jpg");
    AlignedFace {
        person: format!("p{person}"),
        crop: format!("{file}.png"),
        sha256: file.clone(),
        file,
        phash: hash.clone(),
        face_phash: hash,
        r#box: [0.0; 4],
        landmarks: [[0.0; 2]; 5],
        probability: 1.0,
        quality: Shot {
            size_px: 100.0,
            sharpness: 0.6,
            yaw_degrees: 0.0,
        },
        faces_in_photo: 1,
    }
}

fn folder(faces: Vec<AlignedFace>) -> AlignedFolder {
    AlignedFolder {
        root: "faces".into(),
        from: "photos".into(),
        faces,
        skipped: Vec::new(),
    }
}

prop_compose! {
    /// Two to five people; each photo looks like one of a few of its person (so that there are doubles) or like one of
    /// everybody's.
    fn folders()(
        looks in prop::collection::vec(prop::collection::vec(0..14_u8, 1..14), 2..6)
    ) -> AlignedFolder {
        let mut faces = Vec::new();
        for (person, looks) in looks.iter().enumerate() {
            for (number, look) in looks.iter().enumerate() {
                let own = u8::try_from(person * 12).unwrap() + look;
                faces.push(face(person, number, if *look < 12 { own } else { 240 + look }));
            }
        }
        folder(faces)
    }
}

proptest! {
    #[test]
    fn every_photo_has_one_fold_and_doubles_have_the_same(folder in folders(), folds in 2..6_usize, seed: u64) {
        let Ok(split) = Split::new(&folder, folds, seed) else { return Ok(()) };
        prop_assert_eq!(split.assignments.len(), folder.faces.len());
        prop_assert!(split.assignments.values().all(|fold| *fold < folds));
        // Against the definition, without the groups.
        for a in &folder.faces {
            for b in &folder.faces {
                if a.phash == b.phash {
                    prop_assert_eq!(split.fold_of(&a.file), split.fold_of(&b.file));
                }
            }
        }
        split.check(&folder).unwrap();
    }

    #[test]
    fn a_persons_photos_are_spread_as_evenly_as_their_doubles_allow(folder in folders(), folds in 2..6_usize, seed: u64) {
        // Doubles across people tie their folds together; without them the bound holds.
        let mut folder = folder;
        folder.faces.retain(|face| !(252..=253).any(|look| face.phash == super::tests::face(0, 0, look).phash));
        let Ok(split) = Split::new(&folder, folds, seed) else { return Ok(()) };
        for person in folder.people() {
            let mut sizes = HashMap::new();
            let mut counts = vec![0; folds];
            for face in folder.faces.iter().filter(|face| face.person == person) {
                *sizes.entry(&face.phash).or_insert(0) += 1;
                counts[split.fold_of(&face.file).unwrap()] += 1;
            }
            let largest = *sizes.values().max().unwrap();
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= largest, "{:?}", counts);
        }
    }

    #[test]
    fn the_order_of_the_photos_does_not_matter(folder in folders(), seed: u64, other: u64) {
        let mut turned = folder.clone();
        turned.faces.shuffle(&mut StdRng::seed_from_u64(other));
        let (split, again) = (Split::new(&folder, 2, seed), Split::new(&turned, 2, seed));
        prop_assert_eq!(split.ok(), again.ok());
    }
}

#[test]
fn the_looks_of_these_tests_are_far_apart() {
    for (a, b) in [(0, 1), (5, 17), (70, 253)] {
        let [a, b] = [a, b].map(|look| crate::faces::Phash::parse(&face(0, 0, look).phash).unwrap());
        assert!(a.distance(&b) > NEAR);
    }
}

#[test]
fn another_seed_is_another_split() {
    let faces = (0..2).flat_map(|person| (0..30).map(move |number| face(person, number, (person * 30 + number) as u8)));
    let folder = folder(faces.collect());
    let [one, two] = [1, 2].map(|seed| Split::new(&folder, 5, seed).unwrap().assignments);
    assert_ne!(one, two);
    let mut totals = [0; 5];
    one.values().for_each(|fold| totals[*fold] += 1);
    assert_eq!(totals, [12; 5]);
}

#[test]
fn a_split_is_read_as_it_was_written_and_of_other_photos_refused() {
    let faces: Vec<AlignedFace> = (0..8).map(|number| face(number % 2, number, number as u8)).collect();
    let all = folder(faces.clone());
    let split = Split::new(&all, 4, 7).unwrap();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("split.json");
    split.write(&file).unwrap();
    assert_eq!(Split::read(&file).unwrap(), split);

    let error = |folder: &AlignedFolder| split.check(folder).unwrap_err().to_string();
    assert!(error(&folder(faces[1..].to_vec())).contains("p0/0.jpg has a fold, but is not in faces"));
    let mut more = faces.clone();
    more.push(face(0, 100, 100));
    assert!(error(&folder(more)).contains("p0/100.jpg in faces has no fold"));
    // Two that were different when the split was made.
    let mut alike = faces;
    let other = (1..8)
        .find(|other| split.fold_of(&alike[0].file) != split.fold_of(&alike[*other].file))
        .unwrap();
    alike[other].phash = alike[0].phash.clone();
    assert!(error(&folder(alike)).contains("look like one photo"));

    for (text, says) in [
        ("{", "is no split file"),
        (
            r#"{"version":2,"seed":1,"folds":2,"from":"","assignments":{}}"#,
            "version 2",
        ),
        (
            r#"{"version":1,"seed":1,"folds":2,"from":"","assignments":{"a":2}}"#,
            "a is in fold 2 of 2",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let error = format!("{:#}", Split::read(&file).unwrap_err());
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn who_has_too_few_photos_is_said() {
    let of = |person, looks: &[u8]| -> Vec<AlignedFace> {
        let numbered = looks.iter().enumerate();
        numbered.map(|(number, look)| face(person, number, *look)).collect()
    };
    let all = folder([of(0, &[1]), of(1, &[2, 2, 2]), of(2, &[3, 4]), of(3, &[5, 6, 7])].concat());
    let few = Split::new(&all, 3, 1).unwrap().too_few(&all);
    assert_eq!(
        (few.one_photo, few.one_group, few.fewer_than_folds),
        (vec!["p0".to_string()], vec!["p1".to_string()], vec!["p2".to_string()])
    );
    let error = |faces, folds| Split::new(&folder(faces), folds, 1).unwrap_err().to_string();
    assert!(error(of(0, &[1, 2, 3]), 2).contains("of one person, p0"));
    assert!(error([of(0, &[1]), of(1, &[2])].concat(), 3).contains("too few for 3 folds"));
    let mut unnamed = of(0, &[1, 2, 3]);
    unnamed.iter_mut().for_each(|face| face.person.clear());
    assert!(error(unnamed, 2).contains("have no names"));
}
