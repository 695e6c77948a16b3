use super::super::example::{sample, samples};
use super::super::{HeadAnswers, Sample};
use super::*;

fn figures(run: &LeftOutRun<'_>) -> OpenSet {
    let mut searches = Searches::default();
    searches.add_by_distance(run).unwrap();
    searches.figures(1).unwrap()
}

/// A face of `person` at this cosine to that person's one gallery face.
fn at(person: usize, photo: usize, cosine: f32) -> Sample {
    let mut raw = [0.0; 4];
    raw[person] = cosine;
    raw[3] = (1.0 - cosine * cosine).sqrt();
    let mut sample = sample(person, photo, &raw);
    sample.file = format!("{person}-{photo}");
    sample
}

#[test]
fn hand_made_rates() {
    let train = [at(0, 0, 1.0), at(1, 1, 1.0)];
    let mut test = vec![at(0, 2, 0.9), at(0, 3, 0.5), at(1, 4, 0.8)];
    // Person 1's photo that looks most like person 0: no threshold makes it right.
    test.push(Sample {
        person: 1,
        ..at(0, 5, 0.95)
    });
    let strangers: Vec<Sample> = (0..100_u16)
        .map(|i| Sample {
            person: 10 + usize::from(i),
            ..at(
                0,
                100 + usize::from(i),
                if i == 0 { 0.85 } else { 0.3 + f32::from(i) / 1000.0 },
            )
        })
        .collect();
    let run = LeftOutRun {
        left_out: 2,
        fold: 0,
        train: &train,
        test: &test,
        strangers: &strangers,
    };
    let open = figures(&run);
    assert_eq!((open.known_searches, open.all.people, open.all.photos), (4, 100, 100));
    assert!(open.left_out.is_none() && open.second_folder.is_some());
    let rates: Vec<f64> = open.all.at.iter().map(|point| point.fpir).collect();
    assert_eq!(rates, [0.1, 0.01], "a hundred photos can't tell one in a thousand");
    // One stranger, at 0.85, may pass; then all three right ones do.
    let one_percent = &open.all.at[1];
    assert!((one_percent.tpir.value - 0.75).abs() < 1e-9, "{one_percent:?}");
    assert!(one_percent.threshold > 0.39 && one_percent.threshold < 0.41);
    // With none passing, the threshold is above 0.85: only the face at 0.9 is named.
    assert!((open.all.curve[0].false_rate, open.all.curve[0].true_rate) == (0.0, 0.25));
}

#[test]
fn left_out_people_and_the_second_folder_are_told_apart() {
    let all = samples(6, 6, 0.4, 3);
    let of = |people: std::ops::Range<usize>, photos: std::ops::Range<usize>| -> Vec<Sample> {
        all.iter()
            .enumerate()
            .filter(|(index, sample)| people.contains(&sample.person) && photos.contains(&(index / 6)))
            .map(|(_, sample)| sample.clone())
            .collect()
    };
    let (train, test, strangers) = (of(0..3, 0..3), of(0..3, 3..6), of(3..6, 0..6));
    let run = LeftOutRun {
        left_out: 3,
        fold: 0,
        train: &train,
        test: &test,
        strangers: &strangers,
    };
    let open = figures(&run);
    let (left_out, second) = (open.left_out.as_ref().unwrap(), open.second_folder.as_ref().unwrap());
    assert_eq!((left_out.people, second.people, open.all.people), (1, 2, 3));
    assert_eq!(left_out.photos + second.photos, open.all.photos);
    for against in [&open.all, left_out, second] {
        for point in &against.at {
            let passed = strangers
                .iter()
                .filter(|face| train.iter().map(|known| known.cosine(face)).fold(-1.0, f32::max) >= point.threshold)
                .count();
            assert!(passed as f64 <= point.fpir * strangers.len() as f64 + 3.0);
            assert!(
                point.tpir.low <= point.tpir.value && point.tpir.value <= point.tpir.high && point.tpir.high <= 1.0
            );
        }
    }
}

#[test]
fn a_head_is_scored_by_its_highest_probability() {
    let (train, test) = ([at(0, 0, 1.0), at(1, 1, 1.0)], [at(0, 2, 0.9), at(1, 3, 0.9)]);
    let strangers: Vec<Sample> = (0..10).map(|i| at(2, 4 + i, 0.9)).collect();
    let run = LeftOutRun {
        left_out: 2,
        fold: 0,
        train: &train,
        test: &test,
        strangers: &strangers,
    };
    // Columns in another order than the people, to see that they are looked up.
    let mut head = |_: &[Sample], asked: &[&Sample]| {
        let row = |face: &&Sample| match face.person {
            0 => vec![0.1, 0.9],
            1 => vec![0.8, 0.2],
            _ => vec![0.55, 0.45],
        };
        Ok(HeadAnswers {
            classes: vec![1, 0],
            probabilities: asked.iter().map(row).collect(),
        })
    };
    let mut searches = Searches::default();
    searches.add_by_head(&run, &mut head).unwrap();
    let open = searches.figures(1).unwrap();
    let point = &open.all.at[0];
    assert!((point.tpir.value - 1.0).abs() < 1e-9 && point.threshold > 0.55 && point.threshold < 0.551);
    let mut short = |_: &[Sample], _: &[&Sample]| {
        Ok(HeadAnswers {
            classes: vec![0],
            probabilities: vec![],
        })
    };
    assert!(searches.add_by_head(&run, &mut short).is_err());
}

#[test]
fn a_stranger_in_the_gallery_is_refused() {
    let train = [at(0, 0, 1.0), at(1, 1, 1.0)];
    let stranger = [at(1, 7, 0.9)];
    let run = LeftOutRun {
        left_out: 1,
        fold: 2,
        train: &train,
        test: &train[..1],
        strangers: &stranger,
    };
    let error = Searches::default().add_by_distance(&run).unwrap_err().to_string();
    assert!(error.contains("1-7") && error.contains("fold 2"), "{error}");
    let unknown = [at(2, 8, 0.9)];
    let run = LeftOutRun {
        test: &unknown,
        strangers: &[],
        ..run
    };
    assert!(Searches::default().add_by_distance(&run).is_err());
}
