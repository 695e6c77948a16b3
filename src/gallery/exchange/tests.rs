use std::io::Cursor;

use proptest::prelude::*;

use super::super::marks::Threshold;
use super::super::record::{MarginCrop, Source, VisitShot};
use super::super::tests::{face, named};
use super::*;
use ulid::Ulid;

fn jpeg() -> Vec<u8> {
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new(&mut jpeg)
        .encode_image(&image::RgbImage::new(8, 8))
        .unwrap();
    jpeg
}

fn gallery_of_two(folder: &tempfile::TempDir) -> Gallery {
    let mut gallery = Gallery::open(folder.path()).unwrap();
    let mut alice = named("Alice", &[1, 2]);
    alice.faces[1].crop = Some(MarginCrop {
        jpeg: jpeg(),
        left_px: 1.5,
        top_px: 2.5,
        scale: 0.25,
    });
    let mut julia = named("Юлия", &[3, 5]);
    julia.faces[1].source = Source::Visit(VisitShot {
        track: Ulid::from(7_u128),
        captured_at_ms: 1_790_000_000_123,
    });
    gallery.enrol("space", &[alice, julia]).unwrap();
    gallery.add_negatives("alice", "space", &[face(6)]).unwrap();
    gallery.set_ignored("alice", true).unwrap();
    gallery.set_threshold("alice", Threshold::Cosine, Some(0.6)).unwrap();
    gallery
        .set_threshold("alice", Threshold::Probability, Some(0.9))
        .unwrap();
    gallery
}

fn export(gallery: &mut Gallery) -> String {
    let mut out = Vec::new();
    gallery.export(&[], &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn import(gallery: &mut Gallery, export: &str) -> Result<Vec<Imported>, GalleryError> {
    gallery.import(&mut Cursor::new(export))
}

#[test]
fn an_export_comes_back_the_same_in_another_gallery() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = export(&mut gallery_of_two(&here));
    let mut other = Gallery::open(there.path()).unwrap();
    let imported = import(&mut other, &first).unwrap();
    assert!(
        imported
            .iter()
            .all(|one| one.is_new && one.exported_id == one.person.id)
    );
    assert_eq!(export(&mut other), first);
    // A second time it adds nothing.
    let again = import(&mut other, &first).unwrap();
    assert!(again.iter().all(|one| !one.is_new && one.faces_added == 0));
    assert_eq!(export(&mut other), first);
    other.check().unwrap();
}

/// An export as Kith wrote it before there were marks.
#[test]
fn an_export_of_version_1_is_still_read() {
    let text = format!(
        "{{\"kith_gallery\":1,\"people\":1}}\n{{\"id\":\"ann\",\"uid\":\"01ARZ3NDEKTSV4RRFFQ69G5FAV\",\"name\":\"Ann\",\
         \"role\":null,\"faces\":[{{\"source_sha256\":\"{}\",\"box\":[0,0,9,9],\"landmarks\":[[0,0],[0,0],[0,0],[0,0],[0,0]],\
         \"probability\":1,\"size_px\":9,\"sharpness\":0.5,\"yaw_degrees\":0,\"crop\":null,\"vectors\":{{\"space\":[1,0]}}}}]}}\n",
        "ab".repeat(32)
    );
    let folder = tempfile::tempdir().unwrap();
    let mut gallery = Gallery::open(folder.path()).unwrap();
    let imported = import(&mut gallery, &text).unwrap();
    assert_eq!((imported[0].faces_added, imported[0].person.ignored), (1, false));
    assert_eq!(gallery.faces("ann").unwrap()[0].source, Source::Photo([0xab; 32]));
}

#[test]
fn marks_of_people_who_are_here_stay_and_new_negatives_come() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ours = gallery_of_two(&here);
    let mut theirs = Gallery::open(there.path()).unwrap();
    import(&mut theirs, &export(&mut ours)).unwrap();
    theirs.set_ignored("alice", false).unwrap();
    theirs.set_threshold("alice", Threshold::Cosine, Some(0.7)).unwrap();
    ours.add_negatives("alice", "space", &[face(8)]).unwrap();
    let imported = import(&mut theirs, &export(&mut ours)).unwrap();
    assert_eq!((imported[0].faces_added, imported[0].negatives_added), (0, 1));
    let alice = theirs.find("alice").unwrap();
    assert_eq!((alice.ignored, alice.threshold_cosine), (false, Some(0.7)));
    assert_eq!(theirs.people().unwrap()[0].negatives, 2);
}

#[test]
fn a_taken_id_gets_a_suffix_and_a_known_person_keeps_the_name() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ours = gallery_of_two(&here);
    let mut theirs = Gallery::open(there.path()).unwrap();
    theirs.enrol("space", &[named("Alice", &[9])]).unwrap();
    let imported = import(&mut theirs, &export(&mut ours)).unwrap();
    assert_eq!(
        (imported[0].person.id.as_str(), imported[0].exported_id.as_str()),
        ("alice-2", "alice")
    );

    theirs.rename("alice-2", &Name::parse("Alicia").unwrap()).unwrap();
    ours.enrol("space", &[named("Alice", &[4])]).unwrap();
    let imported = import(&mut theirs, &export(&mut ours)).unwrap();
    assert_eq!(
        (imported[0].person.name.as_str(), imported[0].faces_added),
        ("Alicia", 1)
    );
    assert_eq!(theirs.people().unwrap().len(), 3);
}

#[test]
fn what_does_not_hold_is_refused_with_its_line_and_nothing_is_imported() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let good = export(&mut gallery_of_two(&here));
    let mut other = Gallery::open(there.path()).unwrap();
    let second_line = good.lines().nth(1).unwrap();
    let cases: Vec<(String, usize, &str)> = vec![
        (String::new(), 1, "empty"),
        ("hello".into(), 1, "not an export"),
        (
            good.replacen("\"kith_gallery\":2", "\"kith_gallery\":3", 1),
            1,
            "format version 3",
        ),
        (
            good.lines().take(2).collect::<Vec<_>>().join("\n"),
            3,
            "cut off: it holds 1 of 2",
        ),
        (good[..good.len() - 40].to_string(), 3, ""),
        (good.replace("\"id\":\"alice\"", "\"id\":\"a/b#\""), 2, "is no id"),
        (
            good.replace("\"name\":\"Alice\"", "\"name\":\"A\\u001b\""),
            2,
            "control character",
        ),
        (good.replace(&"01".repeat(32), "01"), 2, "64 hex digits"),
        (good.replacen("\"box\":[10.0", "\"box\":[1000.0", 1), 2, "face 1: box"),
        (good.replacen("\"space\":[", "\"space\":[5.0,", 1), 2, "unit length"),
        (
            good.replacen("\"space\":[", "\"space\":[0.0,", 1),
            2,
            "values, the others there have",
        ),
        (good.replacen("jpeg_base64\":\"", "jpeg_base64\":\"AAAA", 1), 2, "crop"),
        (
            format!("{}{second_line}\n", good.replacen("\"people\":2", "\"people\":3", 1)),
            4,
            "earlier line",
        ),
        (good.replacen("\"role\"", "\"rôle\"", 1), 2, "unknown field"),
        (
            good.replacen("\"threshold_cosine\":0.6", "\"threshold_cosine\":1.5", 1),
            2,
            "no threshold",
        ),
        (
            good.replacen(
                "{\"source_sha256\":",
                "{\"visit\":null,\"source_sha256\":null,\"was\":",
                1,
            ),
            2,
            "unknown field `was`",
        ),
        (
            good.replacen("\"visit\":{", "\"source_sha256\":\"00\",\"visit\":{", 1),
            3,
            "needs one of",
        ),
    ];
    for (export, expected_line, expected) in cases {
        match import(&mut other, &export).unwrap_err() {
            GalleryError::Import { line, reason } => {
                assert_eq!(line, expected_line, "{reason}");
                assert!(reason.contains(expected), "{reason:?} lacks {expected:?}");
            }
            error => panic!("{error}"),
        }
        assert!(other.people().unwrap().is_empty());
    }
}

proptest! {
    #[test]
    fn damaged_exports_never_panic_and_never_half_import(place in 0_usize..10_000, byte in any::<u8>()) {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut bytes = export(&mut gallery_of_two(&here)).into_bytes();
        let place = place % bytes.len();
        bytes[place] = byte;
        let mut other = Gallery::open(there.path()).unwrap();
        let people = match other.import(&mut bytes.as_slice()) { Ok(_) => 2, Err(_) => 0 };
        prop_assert_eq!(other.people().unwrap().len(), people);
    }
}
