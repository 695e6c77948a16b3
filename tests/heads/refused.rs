//! Heads and own models that can't be used: a clear sentence, and nothing is left behind.

use std::fs;
use std::path::Path;

use crate::given::head::{SPACE, deliver, deliver_as, embedding, entry};
use crate::given::onnx::{linear_head, mean_colour};
use crate::heads::{Bench, sample};

/// A head for two people in `trained`, delivered after `change` of its entry and of its network.
fn refused(change: impl Fn(&Path), words: &[&str]) {
    let bench = Bench::new();
    let trained = bench.desk.path("trained");
    let weights = [vec![0.1; 192], vec![-0.1; 192]];
    let rest = entry("mobilefacenet", SPACE, "embedding", &["ann", "bea"]);
    deliver_as(&trained, "two", "head", &linear_head(&weights, &[0.0; 2]), &rest);
    change(&trained);
    bench.kith(&["heads", "install", "trained"]).refused(1, words);
    assert_eq!(bench.installed(), Vec::<String>::new(), "{words:?}");
    assert_eq!(bench.people(), Vec::<String>::new(), "{words:?}");
}

fn in_entry(from: &'static str, to: &'static str) -> impl Fn(&Path) {
    move |trained| {
        let file = trained.join("two.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&file, text.replacen(from, to, 1)).unwrap();
    }
}

#[test]
fn a_head_that_does_not_fit_is_refused_and_leaves_nothing() {
    refused(
        in_entry("d8ba40c0", "00000000"),
        &["head two", "embedding space", "00000000", SPACE],
    );
    refused(
        in_entry("\"mobilefacenet\"", "\"nn4\""),
        &["head two", "no embedder named nn4"],
    );
    refused(
        in_entry("reads = \"embedding\"", "reads = \"features\""),
        &["mobilefacenet does not give"],
    );
    refused(in_entry("\"bea\"", "\"ann\""), &["\"ann\" is there twice"]);
    refused(
        in_entry("classes = [\"ann\", \"bea\"]", "classes = []"),
        &["lacks classes"],
    );
    refused(in_entry("\"bea\"]", "\"bea\", \"cid\"]"), &["head two", "give 3"]);
    refused(in_entry("0.9,", "9.0,"), &["rejection", "0 to 1"]);
    refused(in_entry("classes =", "clases ="), &["unknown field `clases`"]);
    refused(in_entry("[[model]]", "[[model"), &["two.toml"]);
    refused(
        in_entry("name = \"two\"", "name = \"../two\""),
        &["../two", "name of a file"],
    );
    // A class that no person can be called.
    refused(in_entry("\"bea\"", "\"b\\u0007\""), &["head two was not installed"]);
}

#[test]
fn a_damaged_network_is_refused_and_leaves_nothing() {
    let network = |trained: &Path| fs::read(trained.join("two.onnx")).unwrap();
    refused(
        |trained| fs::write(trained.join("two.onnx"), &network(trained)[..300]).unwrap(),
        &["two.onnx", "sha256"],
    );
    refused(
        |trained| fs::remove_file(trained.join("two.onnx")).unwrap(),
        &["two.onnx", "No such file"],
    );
    // With the right sha256, but no such network.
    let rest = entry("mobilefacenet", SPACE, "embedding", &["ann", "bea"]);
    let wrong: [(&[u8], &[&str]); 4] = [
        (b"no network", &["head two", "refuses"]),
        (&mean_colour(96), &["head two", "features"]),
        (
            &linear_head(&[vec![0.1; 128], vec![0.2; 128]], &[0.0; 2]),
            &["head two", "192 values"],
        ),
        (
            &linear_head(&[vec![f32::NAN; 192], vec![0.2; 192]], &[0.0; 2]),
            &["head two", "does not take"],
        ),
    ];
    for (bytes, words) in wrong {
        refused(|trained| deliver_as(trained, "two", "head", bytes, &rest), words);
    }
}

#[test]
fn what_holds_no_head_is_refused() {
    let bench = Bench::new();
    fs::create_dir(bench.desk.path("empty")).unwrap();
    bench
        .kith(&["heads", "install", "empty"])
        .refused(1, &["there is no head in empty"]);
    bench
        .kith(&["heads", "install", "nowhere"])
        .refused(1, &["nowhere", "No such file"]);
    bench
        .kith(&["identify", "--by", "head", &sample("obama.jpg")])
        .refused(2, &["head:NAME"]);
}

/// A class that is the name of two people: nobody is mapped, and the head is not there.
#[test]
fn a_class_with_a_name_of_two_people_is_refused() {
    let bench = Bench::new();
    bench.kith(&["enroll", "Sam S", &sample("obama.jpg")]).ok();
    bench.kith(&["enroll", "Sam S", "--new", &sample("biden.jpg")]).ok();
    deliver(
        &bench.desk.path("trained"),
        "two",
        &[("New", embedding("obama.jpg")), ("Sam S", embedding("biden.jpg"))],
    );
    bench
        .kith(&["heads", "install", "trained"])
        .refused(1, &["head two", "2 people are called", "sam-s, sam-s-2"]);
    assert_eq!(bench.installed(), Vec::<String>::new());
    assert_eq!(bench.people(), ["sam-s 1", "sam-s-2 1"]);
    // Nor is an embedder that would have come along.
    let with = bench.desk.path("with");
    let colour = crate::own_models::COLOUR;
    deliver_as(&with, "colour", "embedder", &mean_colour(96), colour);
    let head = linear_head(&[vec![1.0; 3], vec![0.0; 3]], &[0.0; 2]);
    deliver_as(
        &with,
        "two",
        "head",
        &head,
        &entry("colour", "colour", "features", &["New", "Sam S"]),
    );
    bench
        .kith(&["heads", "install", "with"])
        .refused(1, &["head two", "2 people"]);
    assert_eq!(bench.installed(), Vec::<String>::new());
}

/// One bad file in models.d is named by whatever needs the catalogue; the rest can still be looked at and removed.
#[test]
fn a_bad_file_in_models_d_is_named() {
    let bench = Bench::new();
    bench.presidents();
    fs::write(bench.models_d().join("broken.toml"), "[[model]]\nname = 3\n").unwrap();
    bench
        .kith(&["identify", "--by", "head:presidents", &sample("obama.jpg")])
        .refused(1, &["broken.toml", "line 2"]);
    let said = bench.kith(&["heads"]).refused(1, &["broken.toml"]);
    assert!(said.out.starts_with("presidents  on mobilefacenet"), "{}", said.out);

    let twice = fs::read_to_string(bench.models_d().join("head-presidents.toml")).unwrap();
    fs::write(bench.models_d().join("broken.toml"), twice).unwrap();
    bench.kith(&["detect", &sample("obama.jpg")]).refused(
        1,
        &[
            "more than one head named \"presidents\"",
            "broken.toml",
            "head-presidents.toml",
        ],
    );
}

/// `kith check` says everything that is wrong at once.
#[test]
fn check_says_what_is_wrong_with_heads_and_own_models() {
    let bench = Bench::new();
    bench.presidents();
    let config = bench.desk.write(
        "kith.toml",
        b"node = \"box\"\n[mqtt]\nurl = \"mqtt://127.0.0.1:1\"\n[identify]\nby = \"head:presidents\"\n\
          [[camera]]\nid = \"door\"\nurl = \"dir:nowhere\"\n",
    );
    let check = || bench.kith(&["check", "--config", config.to_str().unwrap()]).out;
    let said = check();
    assert!(
        said.contains("provider head presidents  2 people, on mobilefacenet"),
        "{said}"
    );
    bench.kith(&["people", "remove", "joe_biden", "--yes"]).ok();
    assert!(check().contains("the head presidents names nobody for 1 of its classes: joe_biden"));

    let trained = bench.desk.path("trained");
    fs::write(bench.models_d().join("nonsense.toml"), "nonsense").unwrap();
    deliver_as(
        &trained,
        "lost",
        "head",
        b"",
        &entry("gone", "gone", "features", &["ann"]),
    );
    fs::copy(trained.join("lost.toml"), bench.models_d().join("lost.toml")).unwrap();
    let said = check();
    for words in [
        &["failed", "models", "nonsense.toml"][..],
        &["failed", "models lost/network", "No such file"],
        &["failed", "models lost", "no embedder named gone"],
    ] {
        let line = said.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(line, "no line with {words:?} in {said}");
    }
}
