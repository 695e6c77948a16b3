//! Installing a head, identifying by it, removing people and heads.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::given::head::{deliver, embedding};
use crate::given::photos;
use crate::kith::{Desk, Said};

/// A desk with models.d of its own.
pub(crate) struct Bench {
    pub(crate) desk: Desk,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { desk: Desk::new() }
    }

    pub(crate) fn models_d(&self) -> PathBuf {
        self.desk.path("models.d")
    }

    pub(crate) fn kith(&self, args: &[&str]) -> Said {
        let models_d = self.models_d();
        let own = ["--provider", "cpu", "--models-d", models_d.to_str().unwrap()];
        self.desk.kith(args.iter().copied().chain(own))
    }

    /// The names of the files in models.d.
    pub(crate) fn installed(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.models_d()) else {
            return Vec::new();
        };
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Delivers and installs a head that tells Obama from Biden.
    pub(crate) fn presidents(&self) -> Said {
        let classes = [
            ("barack_obama", embedding("obama.jpg")),
            ("joe_biden", embedding("biden.jpg")),
        ];
        deliver(&self.desk.path("trained"), "presidents", &classes);
        self.kith(&["heads", "install", "trained"]).ok()
    }

    /// The line of `identify` about a sample photo, without the photo's name.
    pub(crate) fn identify(&self, head: &str, photo: &str) -> String {
        let photo = sample(photo);
        let said = self.kith(&["identify", "--by", head, &photo]).ok();
        said.out.trim().strip_prefix(&format!("{photo}: ")).unwrap().to_owned()
    }

    pub(crate) fn people(&self) -> Vec<String> {
        let said = self.kith(&["people", "--json"]).ok();
        let people = said.json().remove(0);
        people
            .as_array()
            .unwrap()
            .iter()
            .map(|person| format!("{} {}", person["id"].as_str().unwrap(), person["faces"]))
            .collect()
    }
}

pub(crate) fn sample(photo: &str) -> String {
    photos().join(photo).into_os_string().into_string().unwrap()
}

/// `"NAME (P %)"`, with the probability.
#[track_caller]
fn known(said: &str) -> (&str, f64) {
    let (name, percent) = said.split_once(" (").unwrap();
    (name, percent.strip_suffix(" %)").unwrap().parse().unwrap())
}

#[test]
fn a_head_is_installed_lists_its_people_and_names_them() {
    let bench = Bench::new();
    let said = bench.presidents();
    assert!(
        said.out
            .contains("barack_obama is barack_obama (barack_obama), who is new"),
        "{}",
        said.out
    );
    let files = bench.installed();
    assert_eq!(files.len(), 2, "{files:?}");
    assert!(files[0].starts_with("head-presidents-network-") && files[1] == "head-presidents.toml");
    let entry = fs::read_to_string(bench.models_d().join(&files[1])).unwrap();
    assert!(
        entry.contains("# Made by a test.") && entry.contains(&files[0]),
        "{entry}"
    );
    assert_eq!(bench.people(), ["barack_obama 0", "joe_biden 0"]);
    let people = bench.kith(&["people"]).ok().out;
    assert!(people.contains("barack_obama  barack_obama  (no photos)"), "{people}");

    // Photos that the head has not seen.
    for photo in ["obama2.jpg", "obama3.jpg"] {
        let said = bench.identify("head:presidents", photo);
        let (name, percent) = known(&said);
        assert_eq!(name, "barack_obama");
        assert!((99.0..100.0).contains(&percent), "{said}");
    }
    assert_eq!(known(&bench.identify("head:presidents", "biden.jpg")).0, "joe_biden");

    let list = bench.kith(&["heads"]).ok().out;
    assert_eq!(
        list,
        "presidents  on mobilefacenet, unknown below 90 %: barack_obama, joe_biden\n"
    );
    let list = bench.kith(&["heads", "list", "--json"]).ok().json().remove(0);
    assert_eq!(list[0]["problem"], Value::Null);
    assert_eq!(
        list[0]["classes"][1],
        json!({"class": "joe_biden", "person": "joe_biden"})
    );

    // The gallery knows nobody by photos, and says so as ever.
    let said = bench.kith(&["identify", &sample("obama.jpg")]).ok();
    assert!(
        said.out.ends_with(": unknown\n") && said.err.contains("nobody is enrolled"),
        "{said:?}"
    );
}

/// The original's answer: unknown, but similar to somebody, with a probability.
#[test]
fn somebody_else_is_unknown_and_most_like_somebody() {
    let bench = Bench::new();
    let made_up: Vec<f32> = (0..192)
        .map(|value| if value % 2 == 0 { 0.072 } else { -0.072 })
        .collect();
    let classes = [("Barack", embedding("obama.jpg")), ("Zoë", made_up)];
    deliver(&bench.desk.path("trained"), "two", &classes);
    bench.kith(&["heads", "install", "trained/two.toml"]).ok();
    assert_eq!(bench.people(), ["barack 0", "zoe 0"]);

    let said = bench.identify("head:two", "biden.jpg");
    let rest = said.strip_prefix("unknown, most like ").unwrap();
    let (name, percent) = known(rest);
    assert!(["Barack", "Zoë"].contains(&name));
    assert!((50.0..90.0).contains(&percent) && percent.fract() == 0.0, "{said}");

    let biden = sample("biden.jpg");
    let line = bench
        .kith(&["identify", "--json", "--by", "head:two", &biden])
        .ok()
        .json()
        .remove(0);
    let face = &line["faces"][0];
    assert_eq!(
        (&face["person"], face["similar_to"]["name"].as_str()),
        (&Value::Null, Some(name))
    );
    let unknown = face["confidence"].as_f64().unwrap();
    assert!((unknown - (1.0 - percent / 100.0)).abs() < 0.01, "{unknown} {percent}");
}

#[test]
fn a_class_is_mapped_to_the_person_of_its_name_who_may_have_photos() {
    let bench = Bench::new();
    bench.kith(&["enroll", "joe_biden", &sample("biden.jpg")]).ok();
    bench.kith(&["people", "rename", "joe_biden", "Joe"]).ok();
    let said = bench.presidents();
    assert!(said.out.contains("joe_biden is Joe (joe_biden)\n"), "{}", said.out);
    assert_eq!(bench.people(), ["barack_obama 0", "joe_biden 1"]);
    assert_eq!(known(&bench.identify("head:presidents", "biden.jpg")).0, "Joe");
    // People without photos are no hindrance for those who compare photos.
    assert!(bench.identify("gallery", "biden.jpg").starts_with("Joe ("));
    assert!(
        bench
            .identify("gallery", "obama.jpg")
            .starts_with("unknown, most like Joe (")
    );
    // And photos may come later.
    bench.kith(&["enroll", "barack_obama", &sample("obama2.jpg")]).ok();
    assert_eq!(bench.people(), ["barack_obama 1", "joe_biden 1"]);
}

#[test]
fn a_removed_person_is_unknown_until_the_head_is_installed_again() {
    let bench = Bench::new();
    bench.presidents();
    let said = bench.kith(&["people", "remove", "barack_obama", "--yes"]).ok();
    said.tells(&["the head presidents", "barack_obama", "unknown"]);
    assert_eq!(bench.identify("head:presidents", "obama2.jpg"), "unknown");
    assert_eq!(bench.people(), ["joe_biden 0"], "nobody comes back by being looked at");
    let obama = sample("obama2.jpg");
    let line = bench
        .kith(&["identify", "--json", "--by", "head:presidents", &obama])
        .ok()
        .json()
        .remove(0);
    let face = &line["faces"][0];
    assert_eq!((&face["person"], &face["similar_to"]), (&Value::Null, &Value::Null));
    assert!(face["confidence"].as_f64().unwrap() > 0.99);
    assert_eq!(known(&bench.identify("head:presidents", "biden.jpg")).0, "joe_biden");
    let list = bench.kith(&["heads"]).ok().out;
    assert!(list.contains("barack_obama (nobody), joe_biden"), "{list}");

    bench.kith(&["heads", "install", "trained"]).ok();
    assert_eq!(
        known(&bench.identify("head:presidents", "obama2.jpg")).0,
        "barack_obama"
    );

    bench
        .kith(&["people", "remove", "barack_obama", "joe_biden", "--yes"])
        .ok();
    let said = bench.kith(&["identify", "--by", "head:presidents", &obama]).ok();
    said.tells(&["everybody whom the head presidents knows was removed"]);
}

#[test]
fn a_head_is_replaced_and_removed_without_a_rest() {
    let bench = Bench::new();
    bench.presidents();
    let before = bench.installed();
    let classes = [
        ("joe_biden", embedding("biden.jpg")),
        ("michelle", embedding("obama2.jpg")),
    ];
    deliver(&bench.desk.path("trained"), "presidents", &classes);
    bench.kith(&["heads", "install", "trained"]).ok();
    let after = bench.installed();
    assert_eq!(after.len(), 2, "{after:?}");
    assert_ne!(before[0], after[0], "the network of before is gone");
    assert_eq!(known(&bench.identify("head:presidents", "obama3.jpg")).0, "michelle");
    // The same again changes nothing.
    bench.kith(&["heads", "install", "trained"]).ok();
    assert_eq!(bench.installed(), after);

    bench.kith(&["heads", "remove", "presidents"]).ok();
    assert_eq!(bench.installed(), Vec::<String>::new());
    assert_eq!(bench.people(), ["barack_obama 0", "joe_biden 0", "michelle 0"]);
    bench
        .kith(&["heads", "remove", "presidents"])
        .refused(1, &["no head named presidents"]);
    let obama = sample("obama.jpg");
    bench
        .kith(&["identify", "--by", "head:presidents", &obama])
        .refused(1, &["no head named presidents"]);
    assert!(bench.kith(&["heads"]).ok().out.starts_with("no head is installed in "));
}

/// A head that the user put into models.d without `kith heads install`.
#[test]
fn a_head_that_was_never_installed_gets_its_people_when_it_is_opened() {
    let bench = Bench::new();
    deliver(
        &bench.models_d(),
        "by_hand",
        &[("ann", embedding("obama.jpg")), ("bea", embedding("biden.jpg"))],
    );
    assert_eq!(known(&bench.identify("head:by_hand", "obama2.jpg")).0, "ann");
    assert_eq!(bench.people(), ["ann 0", "bea 0"]);
}
