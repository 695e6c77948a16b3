//! A strict reader of Prometheus' text format: it takes what the format's documentation allows, and of that only what
//! Kith should write.

use std::collections::BTreeMap;

/// What a page says.
#[derive(Debug)]
pub(crate) struct Figures {
    types: BTreeMap<String, String>,
    samples: BTreeMap<(String, Vec<(String, String)>), f64>,
}

impl Figures {
    /// Panics where the page is not well made.
    pub(crate) fn parse(page: &str) -> Self {
        assert!(page.ends_with('\n'), "the last line has no end");
        let mut figures = Self {
            types: BTreeMap::new(),
            samples: BTreeMap::new(),
        };
        // HELP, TYPE, samples, for one family after the other.
        let mut family: Option<(String, String)> = None;
        let mut help: Option<String> = None;
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, text) = rest.split_once(' ').unwrap_or_else(|| panic!("no help: {line}"));
                assert!(text.len() > 10, "{line}");
                help = Some(name.to_owned());
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or_else(|| panic!("no type: {line}"));
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(help.take().as_deref(), Some(name), "HELP comes right before TYPE");
                assert_eq!(
                    name.ends_with("_total"),
                    kind == "counter",
                    "counters end in _total: {line}"
                );
                assert!(name.starts_with("kith_") || name.starts_with("process_"), "{line}");
                let before = figures.types.insert(name.to_owned(), kind.to_owned());
                assert!(before.is_none(), "{name} comes twice");
                family = Some((name.to_owned(), kind.to_owned()));
            } else {
                let (of, kind) = family
                    .as_ref()
                    .unwrap_or_else(|| panic!("a sample before any TYPE: {line}"));
                let (name, labels, value) = sample(line);
                let suffixes: &[&str] = if kind == "histogram" {
                    &["_bucket", "_sum", "_count"]
                } else {
                    &[""]
                };
                let fits = suffixes.iter().any(|suffix| name == format!("{of}{suffix}"));
                assert!(fits, "{line} is not of {of}");
                assert!(value.is_finite() && value >= 0.0, "{line}");
                assert!(
                    figures.samples.insert((name, labels), value).is_none(),
                    "{line} comes twice"
                );
            }
        }
        assert!(help.is_none(), "a HELP without TYPE");
        figures.check_histograms();
        figures
    }

    /// Buckets grow, and the last one has all.
    fn check_histograms(&self) {
        for (name, _) in self.types.iter().filter(|(_, kind)| *kind == "histogram") {
            let bucket = format!("{name}_bucket");
            let mut buckets: Vec<(f64, f64)> = self
                .samples
                .iter()
                .filter(|((of, _), _)| *of == bucket)
                .map(|((_, labels), value)| {
                    let (_, bound) = labels.iter().find(|(label, _)| label == "le").unwrap();
                    (
                        if bound == "+Inf" {
                            f64::INFINITY
                        } else {
                            bound.parse().unwrap()
                        },
                        *value,
                    )
                })
                .collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(
                buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1),
                "{name}: {buckets:?}"
            );
            let (bound, all) = *buckets.last().unwrap();
            assert_eq!(
                (bound, all),
                (f64::INFINITY, self.value(&format!("{name}_count"), &[])),
                "{name}"
            );
            assert!(
                self.samples.contains_key(&(format!("{name}_sum"), Vec::new())),
                "{name} has no sum"
            );
        }
    }

    /// The value of `name` with exactly these labels, in the order of their names.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let key = (name.to_owned(), labels.collect());
        *self
            .samples
            .get(&key)
            .unwrap_or_else(|| panic!("{key:?} is not among {:#?}", self.samples.keys()))
    }

    /// The value of a label of the only sample of `name`.
    pub(crate) fn label(&self, name: &str, label: &str) -> &str {
        let ((_, labels), _) = self.samples.iter().find(|((of, _), _)| of == name).unwrap();
        &labels.iter().find(|(name, _)| name == label).unwrap().1
    }

    /// Whether counters and buckets are no smaller than before, and none is missing.
    pub(crate) fn only_grew_since(&self, before: &Self) {
        let grows = |name: &str| {
            ["_total", "_bucket", "_count", "_sum"]
                .iter()
                .any(|end| name.ends_with(end))
        };
        for (key, was) in before.samples.iter().filter(|((name, _), _)| grows(name)) {
            assert!(self.samples.get(key).is_some_and(|now| now >= was), "{key:?} was {was}");
        }
    }
}

/// Name, labels sorted by name, and value of a line.
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let (left, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
    let (name, labels) = match left.split_once('{') {
        Some((name, labels)) => (
            name,
            labels.strip_suffix('}').unwrap_or_else(|| panic!("no bracket: {line}")),
        ),
        None => (left, ""),
    };
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_'));
    assert!(word(name), "{line}");
    let mut all = Vec::new();
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (label, quoted) = label.split_once('=').unwrap_or_else(|| panic!("{line}"));
        let value = quoted
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or_else(|| panic!("{line}"));
        assert!(
            word(label) && !value.is_empty() && !value.contains(['"', '\\']),
            "{line}"
        );
        all.push((label.to_owned(), value.to_owned()));
    }
    all.sort();
    (
        name.to_owned(),
        all,
        value.parse().unwrap_or_else(|_| panic!("no number: {line}")),
    )
}
