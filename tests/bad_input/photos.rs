//! Bad photos given to the commands: the good ones beside them are done, and nothing is half written.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, RgbImage};
use kith::gallery::Gallery;

use crate::given;
use crate::kith::Desk;
use crate::pictures::{encoded, jpeg, png, quarters, stored};

fn sample(name: &str) -> PathBuf {
    given::photos().join(name)
}

/// Each bad photo, and what is said of it.
fn bad_photos(desk: &Desk) -> Vec<(PathBuf, &'static str)> {
    let whole = fs::read(sample("biden.jpg")).unwrap();
    let rgb = DynamicImage::ImageRgb8(RgbImage::from_fn(64, 48, |x, y| {
        image::Rgb([x as u8, y as u8, (x * y) as u8])
    }));
    let cut = |format| {
        let bytes = encoded(&rgb, format);
        bytes[..bytes.len() / 2].to_vec()
    };
    fs::create_dir(desk.path("no-photos")).unwrap();
    desk.write("no-photos/notes.txt", b"none here");
    vec![
        (desk.path("missing.jpg"), "No such file"),
        (desk.path("no-photos"), "there are no photos in this folder"),
        (desk.write("empty.jpg", b""), "the file is empty"),
        (desk.write("text.jpg", b"Dear diary"), "not a picture that is read here"),
        (
            desk.write("cut.jpg", &whole[..whole.len() / 2]),
            "JPEG data is damaged or cut off",
        ),
        (
            desk.write("cut.png", &cut(ImageFormat::Png)),
            "PNG data is damaged or cut off",
        ),
        (
            desk.write("cut.gif", &cut(ImageFormat::Gif)),
            "GIF data is damaged or cut off",
        ),
        (
            desk.write("cut.webp", &cut(ImageFormat::WebP)),
            "WebP data is damaged or cut off",
        ),
        (
            desk.write("cut.bmp", &cut(ImageFormat::Bmp)),
            "BMP data is damaged or cut off",
        ),
        (
            desk.write("cut.tiff", &cut(ImageFormat::Tiff)),
            "TIFF data is damaged or cut off",
        ),
        (desk.write("large.jpg", &vec![0xff; 11 << 20]), "more than 10 MB"),
        (
            desk.write(
                "huge.png",
                &png(100_000, 100_000, [8, 2, 0, 0, 0], &[(b"IDAT", &stored(&[]))]),
            ),
            "the picture is 100000x100000; at most 4096 px",
        ),
    ]
}

#[test]
fn each_bad_photo_is_told_in_its_place_and_the_rest_is_done() {
    for command in ["detect", "embed", "identify"] {
        let desk = Desk::new();
        let bad = bad_photos(&desk);
        let good = sample("obama2.jpg");
        let tiny = desk.write("tiny.png", &encoded(&RgbImage::new(1, 1).into(), ImageFormat::Png));
        let mut args: Vec<&OsStr> = vec![command.as_ref(), "--json".as_ref(), good.as_os_str(), tiny.as_os_str()];
        args.extend(bad.iter().map(|(path, _)| path.as_os_str()));
        args.push(good.as_os_str());
        // A tenth of what the header of huge.png asks for.
        let said = desk.shell("ulimit -v 4000000; \"$@\"", args);
        assert_eq!(said.code, Some(1), "{said:#?}");
        let lines = said.json();
        assert_eq!(lines.len(), bad.len() + 3, "{said:#?}");
        for line in [&lines[0], lines.last().unwrap()] {
            assert_eq!(line["image"], good.to_str().unwrap());
            assert!(!line["faces"].as_array().unwrap().is_empty(), "{line}");
        }
        assert_eq!(lines[1]["faces"].as_array().unwrap().len(), 0);
        for ((path, reason), line) in bad.iter().zip(&lines[2..]) {
            assert_eq!(line["image"], path.to_str().unwrap());
            assert!(line["error"].as_str().unwrap().contains(reason), "{command}: {line}");
            assert!(line.get("faces").is_none(), "{line}");
        }
    }
}

#[test]
fn sentences_for_people_name_the_photo_and_the_reason() {
    let desk = Desk::new();
    let bad = bad_photos(&desk);
    let good = sample("obama2.jpg");
    let args = [OsStr::new("detect"), good.as_os_str()]
        .into_iter()
        .chain(bad.iter().map(|(path, _)| path.as_os_str()));
    let said = desk.kith(args);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("obama2.jpg: 1 face"), "{said:#?}");
    let said = bad.iter().fold(said, |said, (path, reason)| {
        said.tells(&[path.to_str().unwrap(), reason])
    });
    assert_eq!(said.err.lines().count(), bad.len(), "{said:#?}");
}

#[test]
fn a_bad_photo_enrols_nobody_and_changes_nothing() {
    let desk = Desk::new();
    let people = || {
        if !Gallery::exists(&desk.path("state")) {
            return Vec::new();
        }
        let gallery = Gallery::open_read_only(&desk.path("state")).unwrap();
        gallery.check().unwrap();
        let people = gallery.people().unwrap();
        people
            .iter()
            .map(|one| format!("{} {}", one.person.id, one.faces))
            .collect()
    };
    let good = sample("obama2.jpg");
    let enrol = |name: &str, photos: &[&Path]| {
        let mut args = vec![OsStr::new("enroll"), OsStr::new(name)];
        args.extend(photos.iter().map(|photo| photo.as_os_str()));
        desk.kith(args)
    };
    let all_bad = bad_photos(&desk);
    for (bad, reason) in &all_bad {
        let said = enrol("Alice", &[&good, bad]).refused(1, &[bad.to_str().unwrap(), reason]);
        assert!(said.err.contains("nobody was enrolled"), "{said:#?}");
        assert_eq!(people(), Vec::<String>::new(), "{}", bad.display());
    }
    enrol("Alice", &[&good]).ok();
    let (bad, reason) = &all_bad[3];
    enrol("Alice", &[&sample("obama.jpg"), bad]).refused(1, &[reason.split(' ').next().unwrap()]);
    assert_eq!(people(), ["alice 1"]);
}

#[test]
fn a_drawing_is_whole_or_not_there() {
    let desk = Desk::new();
    let cut = desk.write("cut.jpg", &fs::read(sample("biden.jpg")).unwrap()[..20_000]);
    let good = sample("obama2.jpg");
    let draw = |photo: &Path, out: &str| {
        let args = [Path::new("identify"), photo, Path::new("--draw"), Path::new(out)];
        desk.kith(args)
    };
    draw(&cut, "who.png").refused(1, &["cut.jpg", "damaged or cut off"]);
    draw(&good, "no/such/folder/who.png").refused(1, &["can't write no/such/folder/who.png"]);
    draw(&good, "who.mp3").refused(1, &["who.mp3", "no ending of a picture format"]);
    // The disk is full after 64 KiB.
    let full = "trap '' XFSZ; ulimit -f 64; \"$@\"";
    let args = [
        Path::new("identify"),
        good.as_path(),
        Path::new("--draw"),
        Path::new("who.png"),
    ];
    desk.shell(full, args).refused(1, &["can't write who.png", "too large"]);
    let left: Vec<_> = fs::read_dir(desk.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["cut.jpg"]);
    draw(&good, "who.png").ok();
    assert_eq!(
        kith::photo::read(&desk.path("who.png")).unwrap().dimensions(),
        image::image_dimensions(&good).unwrap()
    );
}

#[test]
fn an_export_is_whole_or_not_there() {
    let desk = Desk::new();
    let photos = [sample("obama.jpg"), sample("obama2.jpg"), sample("obama3.jpg")];
    let mut args = vec![OsStr::new("enroll"), OsStr::new("--keep-crop"), OsStr::new("Alice")];
    args.extend(photos.iter().map(|photo| photo.as_os_str()));
    desk.kith(args).ok();
    let full = "trap '' XFSZ; ulimit -f 64; \"$@\"";
    let said = desk.shell(full, ["people", "export", "people.json"]);
    assert_eq!(said.code, Some(1), "{said:#?}");
    let left: Vec<_> = fs::read_dir(desk.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["state"], "{said:#?}");
    desk.kith(["people", "export", "people.json"]).ok();
    assert!(fs::metadata(desk.path("people.json")).unwrap().len() > 64 * 1024);
}

#[test]
fn folders_are_searched_for_photos_only() {
    let desk = Desk::new();
    let photo = jpeg(&quarters(32, 24));
    for name in [
        "album/b.JPG",
        "album/2024/a.jpeg",
        "album/notes.txt",
        "album/.hidden.jpg",
        "album/.trash/c.jpg",
    ] {
        desk.write(name, &photo);
    }
    // As macOS leaves them beside each photo.
    desk.write("album/._b.JPG", b"\0\x05\x16\x07");
    symlink("..", desk.path("album/2024/up")).unwrap();
    let odd = desk.path("album").join(OsStr::from_bytes(b"caf\xe9.jpg"));
    fs::write(&odd, &photo).unwrap();
    let said = desk.kith(["detect", "--json", "album"]).ok();
    let images: Vec<String> = said
        .json()
        .iter()
        .map(|line| line["image"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(images, ["album/2024/a.jpeg", "album/b.JPG", "album/caf\u{fffd}.jpg"]);
}
