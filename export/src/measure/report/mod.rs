//! What was measured, as JSON and as a table.

mod table;

use std::path::Path;

use serde::Serialize;

use super::About;
use super::closed_set::ClosedSet;
use super::open_set::OpenSet;
use super::pairs::Pairs;
use super::reliability::Reliability;

/// Of the JSON form. Fields may be added without raising it.
pub const VERSION: u32 = 1;

/// All figures of a measurement. Rates and probabilities are shares, 0 to 1; intervals are 95 %.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`VERSION`].
    pub version: u32,
    /// What was measured.
    pub about: About,
    /// Held-out photos, each once.
    pub photos: usize,
    /// Folds they are from.
    pub folds: usize,
    /// Named after the most similar face of the gallery.
    pub by_nearest_neighbour: ClosedSet,
    /// Named after the most similar mean face.
    pub by_class_centre: ClosedSet,
    /// Named by a head that was trained on each fold's gallery.
    pub by_head: Option<ClosedSet>,
    /// Of the head's probabilities for known people.
    pub reliability: Option<Reliability>,
    /// Scored by similarity.
    pub open_set_by_distance: Option<OpenSet>,
    /// Scored by the head's highest probability.
    pub open_set_by_head: Option<OpenSet>,
    /// All pairs of held-out photos within each fold.
    pub held_out_pairs: Option<Pairs>,
    /// The pairs of a pairs file.
    pub labelled_pairs: Option<Pairs>,
}

impl Report {
    /// The JSON form, indented, ending with a line feed.
    ///
    /// # Errors
    /// When a figure has no JSON form, which none has.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// The table for a terminal or a page.
    pub fn to_table(&self) -> String {
        table::table(self)
    }

    /// Draws all pictures that the report has data for into a folder, which is made where it is missing, and names
    /// the files.
    ///
    /// # Errors
    /// Names the file that can't be written.
    pub fn draw(&self, folder: &Path) -> anyhow::Result<Vec<String>> {
        super::pictures::draw_report(self, folder)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::example;

    /// Numbers to four places, so that another machine's last bit doesn't matter; of curves and histograms, which their
    /// own tests hold, only the length.
    fn rounded(value: Value) -> Value {
        match value {
            Value::Number(number) if number.is_f64() => {
                let rounded = (number.as_f64().unwrap() * 1e4).round() / 1e4;
                Value::from(if rounded == 0.0 { 0.0 } else { rounded })
            }
            Value::Array(values) => values.into_iter().map(rounded).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(key, value)| match (key.as_str(), &value) {
                    ("curve" | "roc" | "same_histogram" | "different_histogram", Value::Array(values)) => {
                        let length = Value::from(values.len());
                        (key, length)
                    }
                    _ => (key, rounded(value)),
                })
                .collect(),
            other => other,
        }
    }

    #[test]
    fn a_small_report_stays_as_it_is() {
        let report = example::report();
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let json =
            serde_json::to_string_pretty(&rounded(serde_json::from_str(&report.to_json().unwrap()).unwrap())).unwrap();
        for (file, text) in [("report.json", json + "\n"), ("report.txt", report.to_table())] {
            let path = folder.join(file);
            if std::env::var_os("UPDATE_GOLDEN").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap();
            assert!(
                golden == text,
                "{file} differs; if that is meant: UPDATE_GOLDEN=1. Now:\n{text}"
            );
        }
    }
}
