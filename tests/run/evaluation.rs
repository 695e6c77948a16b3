//! `kith evaluate` and `kith explain`: what they say about clips and photos, with the real networks.

use std::fs;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{GenericImageView, Rgb, RgbImage};
use serde_json::{Value, json};

use crate::clip::clip;
use crate::daemon::{Home, said};
use crate::given::{data, photos};

/// Runs `kith` with `--json` and reads its lines.
fn lines(home: &Home, args: &[&str], files: &[&Path]) -> (Option<i32>, Vec<Value>) {
    let done = home.kith().args(args).args(files).arg("--json").output().unwrap();
    let text = String::from_utf8(done.stdout.clone()).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert!(matches!(done.status.code(), Some(0 | 1)), "{}", said(&done));
    (done.status.code(), lines)
}

/// The clips that issue 4 names.
#[test]
fn all_clips_of_the_development_data_come_out_right() {
    let Some(data) = data() else { return };
    let truth = data.join("video/truth.json");
    let clips = ["hamilton.mp4", "single-face.mp4", "no-faces.mp4"].map(|clip| data.join("video").join(clip));
    let clips: Vec<&Path> = clips.iter().map(|clip| &**clip).collect();
    let home = Home::new();
    let args = ["evaluate", "--with-everybody", "--truth", truth.to_str().unwrap()];
    let (code, found) = lines(&home, &args, &clips);
    let wrong: Vec<&Value> = found.iter().filter(|line| line["right"] != json!(true)).collect();
    assert!(wrong.is_empty() && code == Some(0), "{wrong:#?}");
    assert_eq!(found[0]["visits"].as_array().unwrap().len(), 2);
    assert!(!home.state().exists(), "the gallery of the user is not touched");
}

/// A crowd of people who are not there, and one who is.
#[test]
fn strangers_among_a_crowd_are_named_by_nobody() {
    let home = Home::new();
    let clip = clip(&["obama2"], 3.0);
    let (absent, present) = (home.path().join("absent"), home.path().join("present"));
    for (crowd, person) in [(&absent, "biden"), (&present, "obama")] {
        let folder = crowd.join(person);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(photos().join(format!("{person}.jpg")), folder.join("1.jpg")).unwrap();
    }
    let of = |crowds: &[&Path]| {
        let mut args = vec!["evaluate", "--strangers"];
        args.extend(crowds.iter().flat_map(|crowd| ["--crowd", crowd.to_str().unwrap()]));
        lines(&home, &args, &[&clip])
    };
    let (code, found) = of(&[&absent]);
    assert_eq!((code, &found[0]["right"]), (Some(0), &json!(true)), "{found:#?}");
    assert_eq!(found[0]["enrolled"], 1, "{found:#?}");
    let (code, found) = of(&[&absent, &present]);
    assert_eq!((code, &found[0]["right"]), (Some(1), &json!(false)), "{found:#?}");
    assert_eq!(found[0]["false_names"][0]["person"], "obama", "{found:#?}");
}

/// Truth files that are right, and wrong in each way, about one clip.
#[test]
fn what_is_not_as_the_truth_says_is_wrong() {
    let home = Home::new();
    let clip = clip(&["obama2", "biden"], 4.0);
    fs::create_dir(home.path().join("truth")).unwrap();
    for person in ["obama", "biden"] {
        let photo = photos().join(format!("{person}.jpg"));
        fs::copy(photo, home.path().join(format!("{person}.jpg"))).unwrap();
    }
    let visit =
        |person: &str, from_s: f64| json!({"person": person, "from_s": from_s, "to_s": from_s + 4.0, "face_px": 150});
    let (obama, biden) = (visit("obama", 2.0), visit("biden", 8.0));
    for (case, visits, others, is_right) in [
        ("all right", json!([obama]), true, true),
        ("a stranger who was not expected", json!([obama]), false, false),
        ("somebody who was named and is not to be there", json!([]), true, false),
        (
            "a visit that nobody made",
            json!([obama, visit("obama", 7.5)]),
            true,
            false,
        ),
    ] {
        let truth = home.path().join("truth/truth.json");
        let name = clip.file_name().unwrap().to_str().unwrap();
        let clips = json!({name: {"enrolled_from": {"obama": "obama.jpg"}, "visits": visits, "others": others}});
        fs::write(&truth, json!({ "clips": clips }).to_string()).unwrap();
        let (code, found) = lines(&home, &["evaluate", "--truth", truth.to_str().unwrap()], &[&clip]);
        assert_eq!(
            (found[0]["right"].as_bool(), code),
            (Some(is_right), Some(i32::from(!is_right))),
            "{case}: {found:#?}"
        );
    }
    let truth = home.path().join("truth/truth.json");
    let name = clip.file_name().unwrap().to_str().unwrap();
    let enrolled_from = json!({"obama": "obama.jpg", "biden": "biden.jpg"});
    let clips = json!({name: {"enrolled_from": enrolled_from, "visits": [obama, biden], "others": false}});
    fs::write(&truth, json!({ "clips": clips }).to_string()).unwrap();
    let (code, found) = lines(&home, &["evaluate", "--truth", truth.to_str().unwrap()], &[&clip]);
    assert_eq!(code, Some(0), "{found:#?}");
    for visit in found[0]["visits"].as_array().unwrap() {
        assert!(visit["named"]["after_s"].as_f64().unwrap() < 1.5, "{visit}");
    }
}

/// The reasons of the first face, or of those that were not followed.
fn reasons(explained: &Value) -> Vec<&str> {
    let visits = explained["visits"].as_array().unwrap();
    let of_visits = visits.iter().flat_map(|visit| visit["reasons"].as_array().unwrap());
    let unwatched = explained["not_followed"].as_array().unwrap();
    of_visits
        .chain(unwatched.iter().map(|face| &face["reason"]))
        .map(|reason| reason["why"].as_str().unwrap())
        .collect()
}

#[test]
fn photos_are_explained_with_the_reason_that_is_true() {
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let obama = image::open(photos().join("obama2.jpg")).unwrap().into_rgb8();
    let at = |name: &str, picture: &RgbImage| {
        let path = home.path().join(name);
        picture.save(&path).unwrap();
        path
    };
    // The photo with a face of about 25 px.
    let far = {
        let (found, _) = face_of(&home, &photos().join("obama2.jpg"));
        let scale = 25.0 / found;
        let scaled = |side: u32| (f64::from(side) * scale).round() as u32;
        let small = imageops::resize(
            &obama,
            scaled(obama.width()),
            scaled(obama.height()),
            FilterType::Triangle,
        );
        let mut ground = RgbImage::from_pixel(640, 480, Rgb([90; 3]));
        imageops::replace(&mut ground, &small, 100, 100);
        at("far.png", &ground)
    };
    // Somebody known is recognised however blurred; of a stranger it is said that there was not much to see.
    let biden = image::open(photos().join("biden.jpg")).unwrap().into_rgb8();
    let blurred = at("blurred.png", &imageops::blur(&biden, 15.0));
    let cut_off = {
        let (_, [left, ..]) = face_of(&home, &photos().join("obama2.jpg"));
        let (right, _) = (left + 0.6 * face_of(&home, &photos().join("obama2.jpg")).0, ());
        let right = (right.round() as u32).min(obama.width());
        at("cut-off.png", &obama.view(0, 0, right, obama.height()).to_image())
    };
    for (file, min_face, why) in [
        (photos().join("biden.jpg"), "40", "below_threshold"),
        (far, "100", "too_small"),
        (blurred, "40", "blurred"),
        (cut_off, "40", "cut_off"),
    ] {
        let (_, found) = lines(&home, &["explain", "--min-face", min_face], &[&file]);
        assert!(reasons(&found[0]).contains(&why), "{}: {found:#?}", file.display());
    }
    // Who is recognised lacks nothing but the vote, which one picture can't hold.
    let (_, found) = lines(&home, &["explain"], &[&photos().join("obama2.jpg")]);
    assert_eq!(found[0]["visits"][0]["person"]["id"], "barack-obama");
    assert_eq!(reasons(&found[0]), ["vote_not_reached"]);
    let kith = |args: &[&str]| {
        let done = home.kith().args(args).output().unwrap();
        assert!(done.status.success(), "{}", said(&done));
    };
    kith(&["people", "ignore", "barack-obama"]);
    let (_, found) = lines(&home, &["explain"], &[&photos().join("obama2.jpg")]);
    assert_eq!(reasons(&found[0]), ["ignored", "vote_not_reached"]);
    kith(&["people", "threshold", "barack-obama", "0.99"]);
    let (_, found) = lines(&home, &["explain"], &[&photos().join("obama2.jpg")]);
    assert_eq!(found[0]["visits"][0]["reasons"][0]["own_threshold"], true, "{found:#?}");
}

/// Height of the only face of a photo, and its box.
fn face_of(home: &Home, photo: &Path) -> (f64, [f64; 4]) {
    let (_, found) = lines(home, &["detect"], &[photo]);
    let face: [f64; 4] = serde_json::from_value(found[0]["faces"][0]["box"].clone()).unwrap();
    (face[3] - face[1], face)
}

#[test]
fn a_clip_is_explained_and_drawn() {
    let home = Home::new();
    home.enrol("Barack Obama", &["obama"]);
    let clip = clip(&["obama2", "biden"], 4.0);
    let out = home.path().join("why.mp4");
    let out_text = out.to_str().unwrap();
    let (_, found) = lines(&home, &["explain", "--out", out_text], &[&clip]);
    let visits = found[0]["visits"].as_array().unwrap();
    let people: Vec<&Value> = visits.iter().map(|visit| &visit["person"]["id"]).collect();
    assert_eq!(people, [&json!("barack-obama"), &Value::Null], "{found:#?}");
    assert_eq!(reasons(&found[0]), ["below_threshold"]);
    let shots = visits[0]["faces"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|face| face["embedded"] == json!(true));
    assert!(shots.count() >= 3);

    // The drawing has the name's colour where the clip is grey: at the box of a face, in its frame.
    let frame = home.path().join("frame.png");
    let drawn = std::process::Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-ss", "4", "-i", out_text, "-frames:v", "1"])
        .arg(&frame)
        .output()
        .unwrap();
    assert!(drawn.status.success(), "{}", said(&drawn));
    let frame = image::open(&frame).unwrap().into_rgb8();
    assert_eq!(frame.dimensions(), (640, 480));
    let is_green = |pixel: &&Rgb<u8>| i16::from(pixel[1]) - i16::from(pixel[0]) > 60;
    let green = frame.pixels().filter(is_green).count();
    assert!(green > 300, "{green} pixels in the colour of somebody known");
}

#[test]
fn a_mask_hides_and_says_so() {
    let home = Home::new();
    let clip = clip(&["obama2"], 3.0);
    let mask = "[[camera.mask]]\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n";
    let config = home.configure(1883, "", &format!("{}{mask}", crate::daemon::door(&clip)));
    let args = ["explain", "--config", config.to_str().unwrap(), "--camera", "door"];
    let (_, found) = lines(&home, &args, &[&clip]);
    assert!(found[0]["visits"].as_array().unwrap().is_empty());
    let not_followed = reasons(&found[0]);
    assert!(
        !not_followed.is_empty() && not_followed.iter().all(|why| *why == "masked"),
        "{not_followed:?}"
    );
}
